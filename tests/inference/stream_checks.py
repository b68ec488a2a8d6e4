"""Streams a whole mixture, for the tests of each model that can stream."""

import jax.numpy as jnp


def in_chunks(live, params, mixture, num_hops):
  """Chunks of these sizes over and over, and the end."""
  state, parts, start = live.init(params, len(mixture)), [], 0
  num_rest = mixture.shape[1] % live.hop_length
  stop = mixture.shape[1] - num_rest
  for number in range(stop):
    if start == stop:
      break
    length = live.hop_length * num_hops[number % len(num_hops)]
    chunk = mixture[:, start : min(start + length, stop)]
    state, estimates = live.step(params, state, chunk)
    assert estimates.shape[2] == chunk.shape[1]
    parts.append(estimates)
    start += chunk.shape[1]
  rest = [mixture[:, stop:]] if num_rest else []
  parts.append(live.finish(params, state, *rest))
  return jnp.concatenate(parts, axis=-1)
