"""A filter for every signal of an example."""

import dataclasses

from jaxsep import dsp
from jaxsep.typing import Array, Float

_METHODS = ("butterworth", "fir")


@dataclasses.dataclass(frozen=True)
class Filter:
  """A filter without delay, as an option: hashable, and plain values.

  Attributes:
    band: "lowpass", "highpass", "bandpass" or "bandstop".
    cutoff_hz: One frequency for the first two, `(low, high)` for the others.
      A list becomes a tuple.
    method: "butterworth" for `dsp.butterworth`, "fir" for `dsp.fir`.
    order: Order of the Butterworth prototype; not used by "fir".
    fir_s: Duration of the linear-phase filter, so that its transition band is
      the same at every sample rate; not used by "butterworth".

  Raises:
    ValueError: If the band, the method or the frequencies are not as above;
      half the sample rate is checked when the filter is called.

  Example:
    >>> low = Filter("lowpass", 300)
    >>> import jax.numpy as jnp
    >>> print(low(jnp.ones(4), sample_rate_hz=8000).round(3), low)
    [1. 1. 1. 1.] lowpass 300 Hz
  """

  band: str
  cutoff_hz: dsp.Cutoff
  method: str = "butterworth"
  order: int = 8
  fir_s: float = 0.128

  def __post_init__(self):
    edges = dsp.band_edges(self.band, self.cutoff_hz)
    # One value for one meaning, so that equal filters are equal.
    cutoff = edges[0] if len(edges) == 1 else edges
    object.__setattr__(self, "cutoff_hz", cutoff)
    if self.method not in _METHODS:
      raise ValueError(f"method {self.method!r} must be one of {_METHODS}")

  def __call__(
    self, signal: Float[Array, "*batch time"], *, sample_rate_hz: float | int
  ) -> Float[Array, "*batch time"]:
    """Filters signals along time.

    Args:
      signal: Signals, shape `[..., T]`.
      sample_rate_hz: Their sample rate.

    Returns:
      Filtered signals, same shape.

    Raises:
      ValueError: If a cut-off frequency is not below half the sample rate.
    """
    where = {
      "band": self.band,
      "cutoff_hz": self.cutoff_hz,
      "sample_rate_hz": sample_rate_hz,
    }
    if self.method == "fir":
      num_taps = 1 + 2 * round(self.fir_s * sample_rate_hz / 2)
      return dsp.fir(signal, num_taps=num_taps, **where)
    return dsp.butterworth(signal, order=self.order, **where)

  def __str__(self) -> str:
    edges = dsp.band_edges(self.band, self.cutoff_hz)
    return f"{self.band} {'-'.join(f'{edge:g}' for edge in edges)} Hz"
