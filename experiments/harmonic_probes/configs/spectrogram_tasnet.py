"""SpectrogramTasNet in the size of the paper's ConvTasNet, by its recipe.

Windows of 32 ms every 8 ms; the permutation-invariant L2 loss on magnitudes.
The paper leaves both open, and the optimizer: it is that of `conv_tasnet.py`,
as are data and length of training.
"""

from typing import Any

from ml_collections import config_dict

from experiments.harmonic_probes.configs import conv_tasnet


def get_config() -> config_dict.ConfigDict:
  config: Any = conv_tasnet.get_config()
  config.model = config_dict.create(
    name="SpectrogramTasNet",
    causal=False,
    n_fft=256,
    hop_length=64,
    window="hann",
    # Of the magnitudes that the network sees: "log", "power" or None.
    compression=config_dict.placeholder(str),
    bottleneck_channels=128,
    hidden_channels=512,
    skip_channels=128,
    kernel_size=3,
    num_blocks=8,
    num_repeats=3,
    mask_activation="sigmoid",
    # The dtype of the arithmetic; parameters are always float32.
    dtype="float32",
  )
  config.model.compression = "log"
  # Or "complex_l2", which compares the phases too, or "neg_si_snr" of the
  # waveforms.
  config.loss = "magnitude_l2"
  return config
