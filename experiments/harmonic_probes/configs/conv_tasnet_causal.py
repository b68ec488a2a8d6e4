"""The causal Conv-TasNet of the paper."""

from typing import Any

from ml_collections import config_dict

from experiments.harmonic_probes.configs import conv_tasnet


def get_config() -> config_dict.ConfigDict:
  config: Any = conv_tasnet.get_config()
  config.model.causal = True
  return config
