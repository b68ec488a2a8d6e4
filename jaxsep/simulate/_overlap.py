"""Where the talkers stand in time: together, padded or overlapping in part."""

import jax
import jax.numpy as jnp

from jaxsep.simulate._levels import Range, uniform, valid_samples
from jaxsep.typing import Array, Float, Int, Key


def shift(
  signal: Float[Array, "time"], offset: Int[Array, ""] | int
) -> Float[Array, "time"]:
  """Delays a signal by a number of samples, within its own length.

  Args:
    signal: Signal, shape `[T]`.
    offset: Delay in samples, 0 to T; may be traced.

  Returns:
    Delayed signal, shape `[T]`: zeros first, what passes the end is cut.

  Example:
    >>> print(shift(jnp.array([1.0, 2.0, 3.0]), 1))
    [0. 1. 2.]
  """
  time = signal.shape[-1]
  padded = jnp.concatenate([jnp.zeros_like(signal), signal])
  return jax.lax.dynamic_slice_in_dim(padded, time - offset, time)


def place_min(
  sources: Float[Array, "sources time"], length: Int[Array, "sources"]
) -> tuple[Float[Array, "sources time"], Int[Array, ""]]:
  """All talkers from the start, cut to the shortest.

  Args:
    sources: Talkers, shape `[S, T]`.
    length: Valid samples of each, shape `[S]`.

  Returns:
    The placed talkers, shape `[S, T]`, zero past the end, and the length of the
    mixture, an int32 number.

  Example:
    >>> placed, length = place_min(jnp.ones((2, 3)), jnp.array([3, 1]))
    >>> print(placed[0], length)
    [1. 0. 0.] 1
  """
  end = jnp.min(jnp.asarray(length, jnp.int32))
  mask = valid_samples(end, sources.shape[-1])
  return sources * mask[None], end


def place_max(
  sources: Float[Array, "sources time"], length: Int[Array, "sources"]
) -> tuple[Float[Array, "sources time"], Int[Array, ""]]:
  """All talkers from the start, zero-padded to the longest.

  Args:
    sources: Talkers, shape `[S, T]`.
    length: Valid samples of each, shape `[S]`.

  Returns:
    The placed talkers, shape `[S, T]`, and the length of the mixture, an int32
    number.

  Example:
    >>> placed, length = place_max(jnp.ones((2, 3)), jnp.array([3, 1]))
    >>> print(placed[1], length)
    [1. 0. 0.] 3
  """
  length = jnp.asarray(length, jnp.int32)
  return sources * valid_samples(length, sources.shape[-1]), jnp.max(length)


def place_partial(
  key: Key,
  sources: Float[Array, "sources time"],
  length: Int[Array, "sources"],
  *,
  overlap_ratio: Range = (0.0, 1.0),
) -> tuple[Float[Array, "sources time"], Int[Array, ""]]:
  """One talker after the other, each falling in before the last has ended.

  The order is random. A talker starts so that it shares a random part of the
  shorter one of the two with the talker before it. Where that would take longer
  than T samples, all talkers are shortened by one factor, so that every mixture
  holds all of them.

  Args:
    key: Random key.
    sources: Talkers, shape `[S, T]`.
    length: Valid samples of each, shape `[S]`.
    overlap_ratio: Shared part of the shorter neighbour, a number or a uniform
      range within 0 (in turns) and 1 (wholly).

  Returns:
    The placed talkers, shape `[S, T]`, and the length of the mixture, an int32
    number.

  Raises:
    ValueError: If there are not more samples than talkers.

  Example:
    >>> sources, length = jnp.ones((2, 8)), jnp.array([4, 4])
    >>> placed, end = place_partial(
    ...     jax.random.key(0), sources, length, overlap_ratio=0.5)
    >>> print(placed.sum(0), end)
    [1. 1. 2. 2. 1. 1. 0. 0.] 6
  """
  num_sources, time = sources.shape
  if time <= num_sources:
    raise ValueError(
      f"sources {sources.shape} must be [sources, time] with more samples than"
      " talkers"
    )
  order_key, ratio_key = jax.random.split(key)
  order = jax.random.permutation(order_key, num_sources)
  ratio = uniform(ratio_key, overlap_ratio, (num_sources - 1,))
  wanted = jnp.asarray(length, jnp.int32)[order]
  total = jnp.sum(wanted) - jnp.sum(ratio * _shorter(wanted))
  # One sample a talker is kept back for the rounding of the shortened ones.
  factor = jnp.where(total > time, (time - num_sources) / total, 1.0)
  kept = jnp.floor(wanted * factor).astype(jnp.int32)
  shared = jnp.round(ratio * _shorter(kept)).astype(jnp.int32)
  steps = kept[:-1] - shared
  offsets = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(steps)])
  placed = jax.vmap(shift)(
    sources[order] * valid_samples(kept, time), jnp.minimum(offsets, time)
  )
  # A talker never ends before the one in front of it: it shares at most all.
  end = jnp.minimum(offsets[-1] + kept[-1], time)
  return jnp.zeros_like(sources).at[order].set(placed), end


def _shorter(length):
  """The shorter one of each two neighbours."""
  return jnp.minimum(length[1:], length[:-1])
