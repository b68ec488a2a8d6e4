"""A small causal ConvTasNet for an hour of speech and a few CPU cores."""

from typing import Any

from ml_collections import config_dict

from experiments.harmonic_probes.configs import conv_tasnet_small_corpus


def get_config() -> config_dict.ConfigDict:
  config: Any = conv_tasnet_small_corpus.get_config()
  config.model.causal = True
  return config
