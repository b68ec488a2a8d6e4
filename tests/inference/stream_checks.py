"""Streams a whole mixture, for the tests of each model that can stream."""

import functools

import jax
import jax.numpy as jnp
import numpy as np


@functools.cache
def with_params(model):
  """A model, random parameters, and the whole at once, compiled."""
  mixture = jax.random.normal(jax.random.key(0), (1, 100))
  shapes = jax.eval_shape(model.init, jax.random.key(0), mixture)
  generator = np.random.default_rng(0)

  def draw(path, shape):
    values = 0.3 * generator.standard_normal(shape.shape)
    return jnp.float32(values + ("scale" in path[-1].key))

  params = jax.tree.map_with_path(draw, shapes)["params"]
  return model, params, jax.jit(lambda p, x: model.apply({"params": p}, x))


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
