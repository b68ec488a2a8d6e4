"""Where the speakers stand in time: together, padded or overlapping in part."""

import jax
import jax.numpy as jnp


def place(key, sources, length, *, overlap, overlap_ratio):
  """Places speakers `[S, T]` of the given lengths `[S]`; see `Simulation`.

  Returns them and the length of the mixture; all is zero past it.
  """
  time = sources.shape[-1]
  if overlap == "partial":
    return _partial(key, sources, length, overlap_ratio)
  if overlap == "max":
    return sources * valid_samples(length, time), jnp.max(length)
  end = jnp.min(length)
  return sources * valid_samples(end, time)[None], end


def valid_samples(length, time):
  """1 on the valid samples of each signal and 0 on its padding, `[..., T]`."""
  length = jnp.asarray(length)
  steps = jnp.arange(time).reshape((1,) * length.ndim + (time,))
  return (steps < length[..., None]).astype(jnp.float32)


def outside_pauses(key, shape, length, *, probability, fade):
  """0 in the pauses of speakers and 1 elsewhere, for signals `[S, T]`.

  The two ends of a pause are drawn from a span twice as long as the mixture, so
  that pauses at its start, in it, at its end, and of all of it are common.
  """
  num_sources, time = shape
  ends_key, has_key = jax.random.split(key)
  start, end = jnp.sort(
    length
    * jax.random.uniform(
      ends_key, (2, num_sources, 1), minval=-0.5, maxval=1.5
    ),
    axis=0,
  )
  has_pause = jax.random.bernoulli(has_key, probability, (num_sources, 1))
  steps = jnp.arange(time)[None]
  inside = jnp.clip(jnp.minimum(steps - start, end - steps) / fade, 0.0, 1.0)
  return 1.0 - has_pause * inside


def _partial(key, sources, length, overlap_ratio):
  """One speaker after the other, each starting before the last has ended.

  The order is random. A speaker shares a random part of the shorter one of the
  two with the speaker before it. Where that would take longer than T samples,
  all speakers are shortened by one factor, so that every mixture holds all.
  """
  num_sources, time = sources.shape
  if time <= num_sources:
    raise ValueError(
      f"sources {sources.shape} must be [sources, time] with more samples than"
      " speakers"
    )
  order_key, ratio_key = jax.random.split(key)
  order = jax.random.permutation(order_key, num_sources)
  low, high = overlap_ratio
  ratio = jax.random.uniform(
    ratio_key, (num_sources - 1,), minval=low, maxval=high
  )
  wanted = length[order]
  total = jnp.sum(wanted) - jnp.sum(ratio * _shorter(wanted))
  # One sample per speaker is kept back for rounding.
  factor = jnp.where(total > time, (time - num_sources) / total, 1.0)
  kept = jnp.floor(wanted * factor).astype(jnp.int32)
  shared = jnp.round(ratio * _shorter(kept)).astype(jnp.int32)
  steps = kept[:-1] - shared
  offsets = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(steps)])
  placed = jax.vmap(delayed)(
    sources[order] * valid_samples(kept, time), jnp.minimum(offsets, time)
  )
  # The last speaker ends last: neighbours share at most the shorter one.
  end = jnp.minimum(offsets[-1] + kept[-1], time)
  return jnp.zeros_like(sources).at[order].set(placed), end


def delayed(signal, offset):
  """The signal `[T]` that many samples later; what passes the end is cut."""
  time = signal.shape[-1]
  padded = jnp.concatenate([jnp.zeros_like(signal), signal])
  return jax.lax.dynamic_slice_in_dim(padded, time - offset, time)


def _shorter(length):
  """The shorter one of each two neighbours."""
  return jnp.minimum(length[1:], length[:-1])
