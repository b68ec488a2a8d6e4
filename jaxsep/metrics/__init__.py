"""What papers report: (estimate, reference) in, one value per example out."""

from jaxsep.metrics._bss_eval import bss_eval, bss_eval_permuted
from jaxsep.metrics._energy_ratios import si_sdr, si_snr, snr
from jaxsep.metrics._perceptual import pesq, stoi
from jaxsep.metrics._separation_scores import separation_scores

__all__ = [
  "bss_eval",
  "bss_eval_permuted",
  "pesq",
  "separation_scores",
  "si_sdr",
  "si_snr",
  "snr",
  "stoi",
]
