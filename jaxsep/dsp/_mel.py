"""Mel filterbanks."""

import functools

import numpy as np

from jaxsep.typing import Array, Float


def mel_filterbank(
  num_mels: int,
  *,
  n_fft: int,
  sample_rate_hz: float | int,
  low_hz: float | int = 0.0,
  high_hz: float | int | None = None,
  linear_in: str = "hz",
  symmetric: bool = False,
) -> Float[Array, "bins {num_mels}"]:
  """Triangular filters whose edges are evenly spaced on the mel scale.

  Each filter rises from 0 at the centre of its lower neighbour to 1 at its own,
  and falls to 0 at that of its upper neighbour. A spectrum of magnitudes or
  powers times this matrix is a mel spectrum. No filter sees the DC bin: a loss
  on mel spectra has no gradient there.

  Args:
    num_mels: Filters K.
    n_fft: Length of the transform, with `F = n_fft // 2 + 1` bins.
    sample_rate_hz: Sample rate of the signal.
    low_hz: Lower edge of the first filter.
    high_hz: Upper edge of the last filter; None for half the sample rate.
    linear_in: Whether the sides of the triangles are straight over frequency,
      `"hz"`, as in librosa and torchaudio, or over mel, `"mel"`, as in Kaldi.
    symmetric: Whether each filter falls as steeply as it rises, as in
      SpeechBrain; over `"hz"`, it then ends before that centre.

  Returns:
    NumPy float32 array of shape `[F, K]`, a constant to the compiler.

  Raises:
    ValueError: If the edges are not `0 <= low < high <= sample_rate_hz / 2`, or
      `num_mels` is not positive, or `linear_in` is unknown.

  References:
    The HTK Book, section 5.4, for the scale `2595 log10(1 + f / 700)`.

  Example:
    >>> filters = mel_filterbank(80, n_fft=512, sample_rate_hz=16000)
    >>> print(filters.shape, filters[0].max(), filters.max().round(1))
    (257, 80) 0.0 1.0
  """
  high = sample_rate_hz / 2 if high_hz is None else high_hz
  if not 0 <= low_hz < high <= sample_rate_hz / 2:
    raise ValueError(
      f"mel filters from {low_hz:g} to {high:g} Hz must lie between 0 and half"
      f" the sample rate, {sample_rate_hz / 2:g} Hz"
    )
  if num_mels < 1:
    raise ValueError(f"num_mels must be positive, got {num_mels}")
  if linear_in not in ("hz", "mel"):
    raise ValueError(f"linear_in {linear_in!r} must be 'hz' or 'mel'")
  return _filters(
    num_mels, n_fft, sample_rate_hz, low_hz, high, linear_in, symmetric
  )


@functools.lru_cache(maxsize=32)
def _filters(
  num_mels, n_fft, sample_rate_hz, low_hz, high_hz, linear_in, symmetric
):
  edges = np.linspace(_mel(low_hz), _mel(high_hz), num_mels + 2)
  place = np.arange(n_fft // 2 + 1) * (sample_rate_hz / n_fft)
  if linear_in == "hz":
    edges = 700 * (10 ** (edges / 2595) - 1)
  else:
    place = _mel(place)
  place = place[:, np.newaxis]
  lower, center, upper = edges[:-2], edges[1:-1], edges[2:]
  if symmetric:
    upper = 2 * center - lower
  rise = (place - lower) / (center - lower)
  fall = (upper - place) / (upper - center)
  filters = np.maximum(0, np.minimum(rise, fall)).astype(np.float32)
  filters.setflags(write=False)
  return filters


def _mel(frequency_hz):
  return 2595 * np.log10(1 + np.asarray(frequency_hz) / 700)
