"""Variables of models for tests, which no initialiser compiles."""

import functools

import jax
import numpy as np


def random_params(model, *inputs, **options):
  """Random variables; gains, variances and deviations are about one."""
  init = functools.partial(model.init, **options)
  shapes = jax.eval_shape(init, jax.random.key(0), *inputs)
  generator = np.random.default_rng(0)

  def draw(path, shape):
    values = 0.3 * generator.standard_normal(shape.shape)
    if path[-1].key in ("var", "deviation"):
      return np.float32(1 + np.abs(values))
    return np.float32(values + ("scale" in path[-1].key))

  return jax.tree.map_with_path(draw, shapes)
