"""A small SpectrogramTasNet for an hour of speech and a few CPU cores.

Data and recipe as in `conv_tasnet_small_corpus.py`, but 4 mixtures a step:
there are 8 times fewer frames. The network sees 3.1 s, more than a crop, not
the 12 s of the paper's size.
"""

from typing import Any

from experiments.harmonic_probes.configs import (
  conv_tasnet_small_corpus,
  spectrogram_tasnet,
)


def get_config() -> Any:
  config = conv_tasnet_small_corpus.get_config()
  paper = spectrogram_tasnet.get_config()
  config.model, config.loss = paper.model, paper.loss
  config.model.masker.update(
    bottleneck_channels=96,
    hidden_channels=256,
    skip_channels=96,
    num_blocks=6,
    num_repeats=3,
  )
  config.data.batch_size = 4
  config.train.num_steps = 8_000
  return config
