"""SpectrogramTasNet in the size of the paper's ConvTasNet, by its recipe.

Windows of 32 ms every 8 ms; the permutation-invariant L2 loss on magnitudes.
The paper leaves both open, and the optimizer: it is that of `conv_tasnet.py`,
as are data and length of training.
"""

from typing import Any

from experiments import job
from experiments.harmonic_probes.configs import conv_tasnet
from jaxsep import losses, models


def get_config() -> Any:
  config = conv_tasnet.get_config()
  config.model = job.options(models.SpectrogramTasNet())
  # Or complex_l2, which compares the phases too, or neg_si_snr of waveforms.
  config.loss = job.options(losses.magnitude_l2)
  return config
