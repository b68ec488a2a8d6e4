"""What papers report: (estimate, reference) in, one value per example out."""

from jaxsep.metrics._bss_eval import bss_eval, bss_eval_permuted
from jaxsep.metrics._energy_ratios import (
  improvement,
  si_sdr,
  si_sdr_improvement,
  si_snr,
  si_snr_improvement,
  snr,
  snr_improvement,
)
from jaxsep.metrics._masked_mean import MaskedMean
from jaxsep.metrics._perceptual import pesq, stoi

__all__ = [
  "MaskedMean",
  "bss_eval",
  "bss_eval_permuted",
  "improvement",
  "pesq",
  "si_sdr",
  "si_sdr_improvement",
  "si_snr",
  "si_snr_improvement",
  "snr",
  "snr_improvement",
  "stoi",
]
