"""Initial values of parameters."""

import math

import jax
import jax.numpy as jnp

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
