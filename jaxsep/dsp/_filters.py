"""Filters without delay: zero-phase Butterworth, linear-phase FIR."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep.dsp._bands import Cutoff, band_edges
from jaxsep.dsp._convolve import fast_length, fft_convolve
from jaxsep.dsp._precision import at_least_float32, inexact
from jaxsep.typing import Array, Float

# Level below which an impulse response is ignored, relative to its start.
_NEGLIGIBLE = 1e-7
# Attenuation of the stop band of `fir`.
_ATTENUATION_DB = 60.0


def butterworth(
  signal: Float[Array, "*batch time"],
  *,
  band: str,
  cutoff_hz: Cutoff,
  sample_rate_hz: float | int,
  order: int = 8,
) -> Float[Array, "*batch time"]:
  """Butterworth filter forwards and backwards in time: no phase, no delay.

  The magnitude response acts twice: 6 dB down at a cut-off frequency, with
  twice the slope of `order`. It is a product of spectra that equals
  `scipy.signal.sosfiltfilt` up to rounding. Both ends of the signal are
  extended by its odd reflection, so that a segment of a recording starts
  without a click. A signal may have any length from one sample on. A NaN
  spreads over its whole signal.

  Args:
    signal: Signal, shape `[..., T]`.
    band: "lowpass", "highpass", "bandpass" or "bandstop".
    cutoff_hz: One frequency for the first two, `(low, high)` for the others.
    sample_rate_hz: Sample rate of the signal.
    order: Order of the filter for the first two bands, and half of it for the
      others, as in SciPy.

  Returns:
    Filtered signal, same shape and type; float32 of whole numbers.

  Raises:
    ValueError: If an option is not one of those above, or the signal is empty.

  Example:
    >>> step = jnp.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    >>> smooth = butterworth(
    ...   step, band="lowpass", cutoff_hz=100, sample_rate_hz=1000, order=1)
    >>> print(np.asarray(smooth).round(2))
    [0.   0.15 0.36 0.64 0.85 1.  ]
  """
  signal = inexact(signal)
  edges = band_edges(band, cutoff_hz, sample_rate_hz=sample_rate_hz)
  if order < 1:
    raise ValueError(f"order {order} must be at least 1")
  _check_not_empty(signal)
  rate = float(sample_rate_hz)
  reach = _reach(band, edges, rate, order)
  filtered = _zero_phase(
    at_least_float32(signal), band, edges, rate, order, reach
  )
  return filtered.astype(signal.dtype)


def fir(
  signal: Float[Array, "*batch time"],
  *,
  band: str,
  cutoff_hz: Cutoff,
  sample_rate_hz: float | int,
  num_taps: int = 1025,
) -> Float[Array, "*batch time"]:
  """Linear-phase filter by the window method, its delay removed.

  An ideal filter times a Kaiser window: 6 dB down at a cut-off frequency, the
  centre of the transition band, and 60 dB down in the stop band. With 1025 taps
  at 8 kHz the transition band is 28 Hz wide; a stop band must be wider than
  that to be attenuated fully. The signal is zero before its start and after
  its end.

  Args:
    signal: Signal, shape `[..., T]`.
    band: "lowpass", "highpass", "bandpass" or "bandstop".
    cutoff_hz: One frequency for the first two, `(low, high)` for the others.
    sample_rate_hz: Sample rate of the signal.
    num_taps: Length of the impulse response, an odd number.

  Returns:
    Filtered signal, same shape and type; float32 of whole numbers.

  Raises:
    ValueError: If an option is not one of those above, or the signal is empty.

  Example:
    >>> wave = jnp.sin(2 * jnp.pi * 0.25 * jnp.arange(6))
    >>> low = fir(
    ...   wave, band="lowpass", cutoff_hz=100, sample_rate_hz=8000, num_taps=65)
    >>> bool(jnp.all(jnp.abs(low) < 0.05))
    True
  """
  signal = inexact(signal)
  edges = band_edges(band, cutoff_hz, sample_rate_hz=sample_rate_hz)
  if num_taps < 1 or num_taps % 2 == 0:
    raise ValueError(f"num_taps {num_taps} must be odd and positive")
  _check_not_empty(signal)
  taps = _taps(band, edges, float(sample_rate_hz), num_taps)
  wide = at_least_float32(signal)
  whole = fft_convolve(wide, jnp.asarray(taps, wide.dtype))
  delay = num_taps // 2
  filtered = whole[..., delay : delay + signal.shape[-1]]
  return filtered.astype(signal.dtype)


def _check_not_empty(signal):
  if not signal.ndim or not signal.shape[-1]:
    raise ValueError(
      f"signal {signal.shape} must be [..., time] with at least one sample"
    )


# Compiled even if the caller is not.
@functools.partial(jax.jit, static_argnums=range(1, 6), inline=True)
def _zero_phase(signal, band, edges, rate, order, reach):
  """The filter for a signal of float32 or better."""
  time = signal.shape[-1]
  turned = min(reach, time - 1)
  before = 2 * signal[..., :1] - signal[..., turned:0:-1]
  after = 2 * signal[..., -1:] - signal[..., -2 : -turned - 2 : -1]
  signal = jnp.concatenate([before, signal, after], axis=-1)
  pads = [(0, 0)] * (signal.ndim - 1) + [2 * (reach - turned,)]
  signal = jnp.pad(signal, pads, mode="edge")
  # Long enough that the circular convolution does not wrap into the output.
  n_fft = fast_length(time + 2 * reach)
  response = _power_response(n_fft, band, edges, rate, order, signal.dtype)
  response = response.reshape((1,) * (signal.ndim - 1) + (-1,))
  filtered = jnp.fft.irfft(jnp.fft.rfft(signal, n_fft) * response, n_fft)
  return filtered[..., reach : reach + time]


def _power_response(n_fft, band, edges, rate, order, dtype):
  """`|H|^2 = 1 / (1 + (a / b)^(2 order))` at the bins of an even transform."""
  # The digital filter is the analogue one at tan(w / 2). Sine and cosine in
  # place of the tangent, and min / max of a and b, avoid infinities.
  bins = jnp.arange(n_fft // 2 + 1, dtype=dtype)
  sine = jnp.sin(np.pi / n_fft * bins)
  cosine = jnp.sin(np.pi / n_fft * (n_fft // 2 - bins))
  half = [np.pi * edge / rate for edge in edges]
  if band in ("lowpass", "highpass"):
    a = sine * math.cos(half[0])
    b = cosine * math.sin(half[0])
  else:
    low, high = (math.tan(angle) for angle in half)
    a = sine * sine - low * high * cosine * cosine
    b = (high - low) * sine * cosine
  if band in ("highpass", "bandstop"):
    a, b = b, a
  a, b = jnp.abs(a), jnp.abs(b)
  ratio = (jnp.minimum(a, b) / jnp.maximum(a, b)) ** (2 * order)
  return jnp.where(a < b, 1.0, ratio) / (1.0 + ratio)


@functools.lru_cache(maxsize=256)
def _reach(band, edges, rate, order):
  """Samples until the impulse response of the filter has died away."""
  # Imported here, so that the library imports without SciPy.
  from scipy import signal as scipy_signal

  design: Any = scipy_signal.butter(
    order, _scipy_edges(edges), band, output="zpk", fs=rate
  )
  _, poles, _ = design
  slowest = np.abs(poles).max()
  return 1 + math.ceil(math.log(_NEGLIGIBLE) / math.log(slowest))


@functools.lru_cache(maxsize=64)
def _taps(band, edges, rate, num_taps):
  """The impulse response of `fir`, float64."""
  from scipy import signal as scipy_signal

  window: Any = "kaiser", scipy_signal.kaiser_beta(_ATTENUATION_DB)
  return scipy_signal.firwin(
    num_taps, _scipy_edges(edges), window=window, pass_zero=band, fs=rate
  )


def _scipy_edges(edges):
  return edges[0] if len(edges) == 1 else edges
