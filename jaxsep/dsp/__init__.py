"""Signals in, signals out: the arithmetic that all other layers share."""

from jaxsep.dsp._assignment import best_permutation, reorder
from jaxsep.dsp._bands import Cutoff, band_edges
from jaxsep.dsp._consistency import mixture_consistency
from jaxsep.dsp._convolve import fast_length, fft_convolve
from jaxsep.dsp._filters import butterworth, fir
from jaxsep.dsp._frames import frame, overlap_add
from jaxsep.dsp._levels import amplitude_to_db, db_to_amplitude, rms
from jaxsep.dsp._mel import mel_filterbank
from jaxsep.dsp._precision import at_least_float32
from jaxsep.dsp._ratios import (
  centered,
  energy,
  paired,
  power_ratio_db,
  projection,
)
from jaxsep.dsp._stft import Stft, StftState
from jaxsep.dsp._windows import get_window

__all__ = [
  "Cutoff",
  "Stft",
  "StftState",
  "amplitude_to_db",
  "at_least_float32",
  "band_edges",
  "best_permutation",
  "butterworth",
  "centered",
  "db_to_amplitude",
  "energy",
  "fast_length",
  "fft_convolve",
  "fir",
  "frame",
  "get_window",
  "mel_filterbank",
  "mixture_consistency",
  "overlap_add",
  "paired",
  "power_ratio_db",
  "projection",
  "reorder",
  "rms",
]
