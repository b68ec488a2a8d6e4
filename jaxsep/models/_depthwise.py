"""A depthwise convolution along time as shifted multiply-adds."""

import jax.numpy as jnp

from jaxsep.typing import Array, Float


def depthwise(
  x: Float[Array, "batch frames channels"],
  kernel: Float[Array, "taps channels"],
) -> Float[Array, "batch frames channels"]:
  """Sums of shifted frames, float32; beyond the ends are zeros.

  The number of taps is odd. XLA's grouped convolution is many times slower on
  CPUs.
  """
  reach, frames = len(kernel) // 2, x.shape[1]
  padded = jnp.pad(x, ((0, 0), (reach, reach), (0, 0))).astype(jnp.float32)
  taps = (padded[:, tap : tap + frames] for tap in range(len(kernel)))
  return sum(
    (tap * row[None, None] for tap, row in zip(taps, kernel, strict=True)),
    start=jnp.zeros_like(x, jnp.float32),
  )
