"""The causal separator that ships, for `jaxsep separate --stream`.

The recipe of `two_speakers_8k` with causal convolutions and norms, and windows
of 32 ms every 16 ms: estimates are 16 ms late, and come in hops of 16 ms.
"""

from typing import Any

from experiments.pretrained.configs import two_speakers_8k


def get_config() -> Any:
  config = two_speakers_8k.get_config()
  config.model.stft.update(n_fft=256, hop_length=128)
  config.model.masker.causal = True
  # Pauses slow the start of the training down.
  config.simulation.pause_probability = 0.15
  return config
