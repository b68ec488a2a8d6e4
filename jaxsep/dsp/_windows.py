"""Analysis windows."""

import functools

import numpy as np

from jaxsep.typing import Array, Float

WINDOWS = ("hann", "hamming", "sqrt_hann", "rectangular")


def get_window(name: str, length: int) -> Float[Array, "length"]:
  """A periodic window, as spectral analysis wants it.

  Args:
    name: One of "hann", "hamming", "sqrt_hann" (whose square overlaps to one)
      and "rectangular".
    length: Number of samples.

  Returns:
    NumPy float32 array of shape `[length]`, a constant to the compiler.

  Raises:
    ValueError: If the name is not one of these or the length not positive.

  Example:
    >>> print(get_window("hann", 4))
    [0.  0.5 1.  0.5]
  """
  return _window(name, length).astype(np.float32)


def _cosine(length, offset):
  """`offset - (1 - offset) cos`, over one period."""
  phase = 2.0 * np.pi * np.arange(length) / length
  return offset - (1.0 - offset) * np.cos(phase)


@functools.lru_cache(maxsize=64)
def _window(name, length):
  """The window in float64."""
  if length < 1:
    raise ValueError(f"a window of {length} samples must have at least one")
  if name == "hann":
    return _cosine(length, 0.5)
  if name == "hamming":
    return _cosine(length, 0.54)
  if name == "sqrt_hann":
    return np.sqrt(_cosine(length, 0.5))
  if name == "rectangular":
    return np.ones(length)
  raise ValueError(f"window {name!r} must be one of {', '.join(WINDOWS)}")
