"""The causal Conv-TasNet of the paper."""

from typing import Any

from experiments.harmonic_probes.configs import conv_tasnet


def get_config() -> Any:
  config = conv_tasnet.get_config()
  config.model.masker.causal = True
  return config
