"""A depthwise convolution along time as shifted multiply-adds.

XLA's grouped convolution is many times slower on CPUs. The gradient is written
by hand: automatic differentiation would add up one padded map for each tap.
"""

import jax
import jax.numpy as jnp

from jaxsep.typing import Array, Float

# Frames that a CPU computes together.
_FRAMES = 64


@jax.custom_vjp
def depthwise(
  x: Float[Array, "batch frames channels"],
  kernel: Float[Array, "taps channels"],
) -> Float[Array, "batch frames channels"]:
  """Sums of shifted frames, float32; beyond the ends are zeros.

  The number of taps is odd.
  """
  reach, (batch, frames, channels) = len(kernel) // 2, x.shape
  padded = jnp.pad(x, ((0, 0), (reach, reach), (0, 0)))
  size = _FRAMES if jax.default_backend() == "cpu" else frames
  if frames <= size:
    return _sums(padded, kernel, frames)

  def set_block(index, total):
    # The last block ends with the frames.
    start = jnp.minimum(index * size, frames - size)
    seen = jax.lax.dynamic_slice_in_dim(padded, start, size + 2 * reach, 1)
    sums = _sums(seen, kernel, size)
    return jax.lax.dynamic_update_slice_in_dim(total, sums, start, 1)

  # XLA writes out the results of a loop. Otherwise, it would compute them again
  # for each of their users: eight for a batch norm and its gradient.
  total = jnp.zeros((batch, frames, channels), jnp.float32)
  return jax.lax.fori_loop(0, -(-frames // size), set_block, total)


def _sums(padded, kernel, frames):
  """Sums for so many frames, from those that they see."""
  # Written out, the padding is not looked at again by every tap.
  padded = jax.lax.optimization_barrier(padded)
  total = jnp.zeros((1, 1, 1), jnp.float32)
  for tap, row in enumerate(kernel):
    seen = padded[:, tap : tap + frames].astype(jnp.float32)
    total = total + seen * row[None, None]
  return total


def _forward(x, kernel):
  return depthwise(x, kernel), (x, kernel)


def _backward(residuals, gradient):
  x, kernel = residuals
  d_x = depthwise(gradient, kernel[::-1]).astype(x.dtype)
  reach, frames = len(kernel) // 2, x.shape[1]
  padded = jnp.pad(x, ((0, 0), (reach, reach), (0, 0)))

  def of_tap(tap):
    seen = jax.lax.dynamic_slice_in_dim(padded, tap, frames, axis=1)
    return jnp.sum(seen.astype(jnp.float32) * gradient, axis=(0, 1))

  # A loop: unrolled, it is slower, and takes long to compile.
  return d_x, jax.lax.map(of_tap, jnp.arange(len(kernel)))


depthwise.defvjp(_forward, _backward)
