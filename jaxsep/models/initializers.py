"""Initial values of parameters."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep.typing import Key


def uniform_fan_in(fan_in: int):
  """Uniform within `1 / sqrt(fan_in)` of zero, for kernels and biases alike.

  What PyTorch gives its convolutions, and so what the published systems
  started from.

  Args:
    fan_in: Inputs of one output.

  Returns:
    A function `initialize(key, shape, dtype)`.

  Example:
    >>> values = uniform_fan_in(4)(jax.random.key(0), (100,))
    >>> bool(jnp.all(jnp.abs(values) <= 0.5))
    True
  """
  bound = 1 / math.sqrt(fan_in)

  def initialize(key: Key, shape, dtype=jnp.float32) -> jax.Array:
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return initialize


def filterbank_initializer(name: str, *, fan_in: int, transpose: bool = False):
  """The initializer of a learned filterbank by name.

  Args:
    name: `"uniform"` for `uniform_fan_in`; or `"fourier"` for Fourier analysis
      under a sine window, every filter with both signs. A rectified encoder
      and a decoder that both start as the latter give back what goes in, as a
      short-time Fourier transform and its inverse do; a separator then learns
      masks from the first step on and not filters first.
    fan_in: See `uniform_fan_in`.
    transpose: Whether the shape is that of a decoder, `[N, L]`, and not that
      of an encoder, `[L, N]`: L samples, N filters.

  Returns:
    A function `initialize(key, shape, dtype)`. That of `"fourier"` does not use
    the key, and raises ValueError where N is not a multiple of 4 or less than
    2 L.

  Raises:
    ValueError: If the name is unknown.

  References:
    Ditter and Gerkmann, A multi-phase gammatone filterbank for speech
    separation via TasNet, 2020, for filters given instead of learned.

  Example:
    >>> kernel = filterbank_initializer("fourier", fan_in=16)(None, (16, 32))
    >>> bool(jnp.allclose(jnp.sum(kernel, axis=1), 0, atol=1e-6))
    True
  """
  if name == "uniform":
    return uniform_fan_in(fan_in)
  if name == "fourier":
    return functools.partial(_fourier, transpose=transpose)
  raise ValueError(f"filterbank_init is 'uniform' or 'fourier', not {name!r}.")


def _fourier(key, shape, dtype=jnp.float32, *, transpose):
  del key
  length, num_filters = reversed(shape) if transpose else shape
  size = num_filters // 2
  if num_filters % 4 or size < length:
    raise ValueError(
      f"{num_filters} filters of {length} samples cannot start as a Fourier "
      f"transform: take a multiple of 4, at least {2 * length}."
    )
  time = np.arange(length)[:, None]
  phase = 2 * np.pi * time * np.arange(size // 2 + 1) / size
  # An orthonormal real transform of `size` points, cut to the window.
  scale = np.full(size // 2 + 1, np.sqrt(2 / size))
  scale[[0, -1]] = np.sqrt(1 / size)
  basis = [np.cos(phase) * scale, np.sin(phase[:, 1:-1]) * scale[1:-1]]
  window = np.sin(np.pi * (time + 0.5) / length)
  half = window * np.concatenate(basis, axis=1)
  kernel = np.concatenate([half, -half], axis=1)
  return jnp.asarray(kernel.T if transpose else kernel, dtype)
