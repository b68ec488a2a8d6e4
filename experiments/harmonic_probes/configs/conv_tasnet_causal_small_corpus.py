"""A small causal ConvTasNet for an hour of speech and a few CPU cores."""

from typing import Any

from experiments.harmonic_probes.configs import conv_tasnet_small_corpus


def get_config() -> Any:
  config = conv_tasnet_small_corpus.get_config()
  config.model.masker.causal = True
  return config
