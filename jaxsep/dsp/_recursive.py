"""Recursive filters that run forwards in time."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep.dsp._bands import Cutoff, band_edges
from jaxsep.dsp._precision import at_least_float32, inexact
from jaxsep.typing import Array, Float


def butterworth_sos(
  *,
  band: str,
  cutoff_hz: Cutoff,
  sample_rate_hz: float | int,
  order: int = 8,
) -> Float[np.ndarray, "sections 6"]:
  """A Butterworth filter as second-order sections.

  Args:
    band: "lowpass", "highpass", "bandpass" or "bandstop".
    cutoff_hz: One frequency for the first two, `(low, high)` for the others;
      there the filter is 3 dB down.
    sample_rate_hz: Sample rate of the signals.
    order: Order of the analogue prototype, which is the order of the filter
      for the first two bands, and half of it for the others.

  Returns:
    A row `b0 b1 b2 1 a1 a2` for each section, float64: the transfer function
    is the product of `(b0 + b1/z + b2/z^2) / (1 + a1/z + a2/z^2)`.

  Raises:
    ValueError: If an option is not one of those above.

  Example:
    >>> sos = butterworth_sos(
    ...   band="lowpass", cutoff_hz=250, sample_rate_hz=1000, order=2)
    >>> print(np.abs(sos.round(3)))
    [[0.293 0.586 0.293 1.    0.    0.172]]
  """
  # Not above: the library imports without it.
  from scipy import signal as scipy_signal

  edges = band_edges(band, cutoff_hz, sample_rate_hz=sample_rate_hz)
  if order < 1:
    raise ValueError(f"order {order} must be at least 1")
  cutoff = edges[0] if len(edges) == 1 else edges
  sos: Any = scipy_signal.butter(
    order, cutoff, band, output="sos", fs=float(sample_rate_hz)
  )
  return sos


def sos_filter(
  signal: Float[Array, "*batch time"], sos: Float[Array, "sections 6"]
) -> Float[Array, "*batch time"]:
  """Filters forwards in time by second-order sections, from rest.

  A sample that comes out depends on those before it alone: for streams and for
  what a causal device would hear. `butterworth` is far quicker where the whole
  signal is there, and does not delay.

  Args:
    signal: Signal, shape `[..., T]`.
    sos: A row `b0 b1 b2 a0 a1 a2` for each section, as `butterworth_sos` and
      SciPy have them.

  Returns:
    Filtered signal, same shape and type, float32 of whole numbers; computed in
    float32 or better.
    Rounding grows with the sharpness of the filter; for a band-stop of order 8
    from 200 to 800 Hz at 8 kHz it stays 90 dB below the signal.

  Raises:
    ValueError: If `sos` is not shaped as above, or the signal is empty.

  Example:
    >>> mean_of_two = np.array([[0.5, 0.5, 0.0, 1.0, 0.0, 0.0]])
    >>> print(sos_filter(jnp.array([1.0, 3.0, 5.0]), mean_of_two))
    [0.5 2.  4. ]
  """
  signal, sos = inexact(signal), jnp.asarray(sos)
  if sos.ndim != 2 or sos.shape[0] < 1 or sos.shape[1] != 6:
    raise ValueError(f"sos {sos.shape} must be [sections, 6]")
  if not signal.ndim or not signal.shape[-1]:
    raise ValueError(
      f"signal {signal.shape} must be [..., time] with one sample at least"
    )
  wide = at_least_float32(signal)
  filtered = _run(wide, sos.astype(wide.dtype))
  return filtered.astype(signal.dtype)


@functools.partial(jax.jit, inline=True)
def _run(signal, sos):
  """All sections, sample by sample."""
  sos = sos / sos[:, 3:4]
  num_sections, batch = sos.shape[0], signal.shape[:-1]

  def step(state, sample):
    # Direct form II transposed: two numbers of memory for a section.
    first, second = [], []
    for section in range(num_sections):
      b0, b1, b2, _, a1, a2 = sos[section]
      result = b0 * sample + state[0, section]
      first.append(b1 * sample - a1 * result + state[1, section])
      second.append(b2 * sample - a2 * result)
      sample = result
    return jnp.stack([jnp.stack(first), jnp.stack(second)]), sample

  rest = jnp.zeros((2, num_sections, *batch), signal.dtype)
  samples = jnp.moveaxis(signal, -1, 0)
  _, filtered = jax.lax.scan(step, rest, samples)
  return jnp.moveaxis(filtered, 0, -1)
