"""Convolution of long signals by FFT."""

import jax.numpy as jnp

from jaxsep.typing import Array, Float


def fft_convolve(
  signal: Float[Array, "*#batch time"],
  response: Float[Array, "*#batch taps"],
) -> Float[Array, "..."]:
  """Full linear convolution with a room or filter response.

  Args:
    signal: Signal, shape `[..., T]`.
    response: Impulse response, shape `[..., R]`, or `[R]` for one response for
      all signals; leading axes of size 1 broadcast.

  Returns:
    Convolved signal, shape `[..., T + R - 1]`. If the direct sound is the first
    tap, it starts where the signal starts.

  Raises:
    ValueError: If the leading axes do not fit or an array is empty.

  Example:
    >>> print(fft_convolve(jnp.array([1.0, 2.0]), jnp.array([1.0, 1.0])))
    [1. 3. 2.]
  """
  signal, response = jnp.asarray(signal), jnp.asarray(response)
  dtype = jnp.result_type(signal, response)
  wide = jnp.promote_types(dtype, jnp.float32)
  if response.ndim == 1:
    response = response.reshape((1,) * (signal.ndim - 1) + response.shape)
  _check(signal, response)
  length = signal.shape[-1] + response.shape[-1] - 1
  n_fft = fast_length(length)
  spectrum = jnp.fft.rfft(signal.astype(wide), n_fft)
  spectrum = spectrum * jnp.fft.rfft(response.astype(wide), n_fft)
  return jnp.fft.irfft(spectrum, n_fft)[..., :length].astype(dtype)


def _check(signal, response):
  """Checks that the two arrays can be convolved."""
  fits = signal.ndim == response.ndim and all(
    a == b or 1 in (a, b)
    for a, b in zip(signal.shape[:-1], response.shape[:-1], strict=True)
  )
  if not fits:
    raise ValueError(
      f"signal {signal.shape} and response {response.shape} must agree in"
      " all axes but the last"
    )
  if not signal.shape[-1] or not response.shape[-1]:
    raise ValueError(
      f"signal {signal.shape} and response {response.shape} need at least"
      " one sample each"
    )


def fast_length(length: int) -> int:
  """The smallest even product of 2, 3 and 5 that is at least `length`.

  Args:
    length: Number of samples.

  Returns:
    A transform length for which FFT libraries are fast.

  Example:
    >>> fast_length(1025)
    1080
  """
  best = 2
  while best < length:
    best *= 2
  fives = 1
  while fives < best:
    threes = fives
    while threes < best:
      size = 2 * threes
      while size < length:
        size *= 2
      best = min(best, size)
      threes *= 3
    fives *= 5
  return best
