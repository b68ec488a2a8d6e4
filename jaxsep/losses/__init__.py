"""What training minimises: one value per example, lower is better."""

from jaxsep.dsp import mixture_consistency, reorder
from jaxsep.losses._permutation import permutation_invariant
from jaxsep.losses._ratios import neg_sdr, neg_si_sdr, neg_si_snr, neg_snr
from jaxsep.losses._recognition import ctc_attention, ctc_fits
from jaxsep.losses._spectral import (
  complex_l2,
  feature_l2,
  layer_distillation,
  magnitude_l2,
)

__all__ = [
  "complex_l2",
  "ctc_attention",
  "ctc_fits",
  "feature_l2",
  "layer_distillation",
  "magnitude_l2",
  "mixture_consistency",
  "neg_sdr",
  "neg_si_sdr",
  "neg_si_snr",
  "neg_snr",
  "permutation_invariant",
  "reorder",
]
