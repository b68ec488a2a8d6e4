"""A small DPTNet for an hour of speech and one or two CPU cores.

The data of `conv_tasnet_small_corpus`: every utterance with another speaker's
at random, 2 mixtures of 2 s a step. Filters of 32 samples and two dual-path
blocks keep the recurrences short; the filters start as a Fourier transform.
"""

from typing import Any

from experiments.harmonic_probes.configs import (
  conv_tasnet_small_corpus,
  dptnet_stride8,
)


def get_config() -> Any:
  config = conv_tasnet_small_corpus.get_config()
  stride8 = dptnet_stride8.get_config()
  config.model = stride8.model
  config.model.update(
    num_filters=256,
    filter_length=32,
    feature_size=48,
    chunk_length=64,
    num_blocks=2,
    num_heads=4,
    hidden_size=64,
    filterbank_init="fourier",
  )
  # Muon takes the kernels of attention and convolutions; those of the LSTMs
  # are no single matrices and stay with Adam, which wants it slower.
  config.optimizer.learning_rate = 1.5e-3
  config.train.num_steps = 5_000
  return config
