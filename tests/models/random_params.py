"""Parameters for tests, drawn without compiling a model's own initialiser."""

import functools

import jax
import numpy as np


def random_params(model, features, seed=0, **options):
  """Random parameters, gains about one; `{"params": ...}`."""
  init = functools.partial(model.init, **options)
  shapes = jax.eval_shape(init, jax.random.key(0), features)
  generator = np.random.default_rng(seed)

  def draw(path, shape):
    values = 0.3 * generator.standard_normal(shape.shape)
    if "scale" in path[-1].key:
      values += 1
    return values.astype(np.float32)

  return jax.tree.map_with_path(draw, shapes)
