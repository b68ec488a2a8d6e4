"""A separator for 16 kHz, which does not ship: see README.md.

The recipe of `two_speakers_8k` at twice the rate: windows and hops of the same
duration, so the same number of frames, with twice the frequencies. Fewer
channels within the blocks keep it below 5 MiB. It starts from the weights of
`two_speakers_8k`, see `experiments.pretrained.widen`.
"""

from typing import Any

from experiments.pretrained.configs import two_speakers_8k


def get_config() -> Any:
  config = two_speakers_8k.get_config()
  config.sample_rate_hz = 16000
  config.model.stft.update(n_fft=1024, hop_length=256)
  config.model.masker.hidden_channels = 288
  return config
