"""A small SpectrogramTasNet for an hour of speech and a few CPU cores.

Data as in `conv_tasnet_small_corpus.py`.
"""

from typing import Any

from ml_collections import config_dict

from experiments.harmonic_probes.configs import (
  conv_tasnet_small_corpus,
  spectrogram_tasnet,
)


def get_config() -> config_dict.ConfigDict:
  config: Any = conv_tasnet_small_corpus.get_config()
  paper: Any = spectrogram_tasnet.get_config()
  config.model, config.loss = paper.model, paper.loss
  config.model.update(
    bottleneck_channels=96,
    hidden_channels=256,
    skip_channels=96,
    num_blocks=6,
    num_repeats=3,
  )
  return config
