"""Initial values of parameters."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep.typing import Key


def uniform_fan_in(fan_in: int):
  """Uniform within `1 / sqrt(fan_in)` of zero, for kernels and biases alike.

  PyTorch's initial values of convolutions, and so those of the published
  systems.
  """
  bound = 1 / math.sqrt(fan_in)

  def initialize(key: Key, shape, dtype=jnp.float32) -> jax.Array:
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return initialize


def filterbank_initializer(name: str, *, fan_in: int, transpose: bool = False):
  """The initializer of a learned filterbank by name.

  `"uniform"` is `uniform_fan_in`; `"fourier"` is Fourier analysis under a sine
  window, every filter with both signs. A rectified encoder and a decoder that
  both start so reconstruct the signal, as a short-time Fourier transform and
  its inverse; a separator then learns masks from the first step on. With
  `transpose`, the shape is that of a decoder, `[filters, samples]`.

  References:
    Ditter and Gerkmann, A multi-phase gammatone filterbank for speech
    separation via TasNet, 2020, for filters that are not learned.
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
