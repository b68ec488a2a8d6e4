"""Filter bands: their names and cut-off frequencies."""

from collections.abc import Sequence

import jax
import numpy as np

_Number = float | int | np.number | jax.Array
#: A cut-off frequency, or a `(low, high)` pair of them.
Cutoff = _Number | Sequence[_Number] | np.ndarray

BANDS = {"lowpass": 1, "highpass": 1, "bandpass": 2, "bandstop": 2}


def band_edges(
  band: str,
  cutoff_hz: Cutoff,
  *,
  sample_rate_hz: float | int | None = None,
) -> tuple[float, ...]:
  """Checks the cut-off frequencies of a filter and gives them as a tuple.

  Args:
    band: "lowpass", "highpass", "bandpass" or "bandstop".
    cutoff_hz: One frequency for the first two, `(low, high)` for the others.
    sample_rate_hz: Sample rate; None skips the check of the upper limit.

  Returns:
    One or two frequencies in Hz, ascending.

  Raises:
    ValueError: If the band is unknown, or the frequencies have the wrong
      number, are not ascending, or are not below half the sample rate.

  Example:
    >>> band_edges("bandstop", (350, 400), sample_rate_hz=8000)
    (350.0, 400.0)
  """
  if band not in BANDS:
    raise ValueError(f"band {band!r} must be one of {', '.join(BANDS)}")
  try:
    # A number of NumPy or JAX is an array without axes.
    edges = tuple(float(edge) for edge in np.atleast_1d(np.asarray(cutoff_hz)))
  except (TypeError, ValueError):
    raise ValueError(
      f"cutoff_hz {cutoff_hz!r} must be a number or (low, high)"
    ) from None
  if len(edges) != BANDS[band]:
    wanted = "(low, high)" if BANDS[band] == 2 else "one frequency"
    raise ValueError(f"cutoff_hz {cutoff_hz} of a {band} must be {wanted}")
  if sample_rate_hz is None:
    limit, inside = float("inf"), "positive"
  elif sample_rate_hz > 0:
    limit = sample_rate_hz / 2
    inside = f"between 0 and half the sample rate, {limit:g}"
  else:
    raise ValueError(f"sample_rate_hz {sample_rate_hz} must be positive")
  if not all(0 < edge < limit for edge in edges):
    raise ValueError(f"cutoff_hz {cutoff_hz} must be {inside}, ends excluded")
  if not edges[0] < edges[-1] and len(edges) == 2:
    raise ValueError(f"cutoff_hz {cutoff_hz} must be ascending: (low, high)")
  return edges
