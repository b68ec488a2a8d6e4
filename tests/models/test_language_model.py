import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_params import random_params

from jaxsep import models

MODELS = [
  models.LSTMLanguageModel(9, size=8, num_layers=2),
  models.TransformerLanguageModel(
    9, size=8, num_layers=2, num_heads=2, feedforward_size=16
  ),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda m: type(m).__name__)
def test_steps_equal_the_whole(model):
  """Also where hypotheses are exchanged on the way."""
  rng = np.random.default_rng(0)
  tokens = rng.integers(0, 9, (2, 3, 5)).astype(np.int32)
  variables = random_params(model, tokens[:, 0])
  order = np.array([[2, 0, 0], [1, 1, 2]])
  state = model.apply(variables, 2, 5, method="search_start")
  state = jax.tree.map(lambda x: jnp.repeat(x[:, None], 3, axis=1), state)
  whole = jax.jit(lambda tokens: model.apply(variables, tokens))
  step = jax.jit(
    lambda *args: model.apply(variables, *args, method="search_step")
  )
  for place in range(5):
    got, state = step(state, tokens[:, :, place])
    for hypothesis in range(3):
      expected = jax.nn.log_softmax(whole(tokens[:, hypothesis])[:, place])
      np.testing.assert_allclose(got[:, hypothesis], expected, atol=2e-5)
    if place == 2:
      state = jax.tree.map(lambda x: x[np.arange(2)[:, None], order], state)
      tokens[:, :, :3] = tokens[np.arange(2)[:, None], order][:, :, :3]


@pytest.mark.parametrize("model", MODELS, ids=lambda m: type(m).__name__)
def test_no_token_sees_a_later_one(model):
  tokens = np.array([[1, 4, 5, 6]])
  variables = random_params(model, tokens)
  other = np.array([[1, 4, 0, 0]])
  apply = jax.jit(model.apply)
  one, two = (apply(variables, x) for x in (tokens, other))
  np.testing.assert_allclose(one[:, :2], two[:, :2], atol=1e-6)
  assert np.max(np.abs(one[:, 2] - two[:, 2])) > 1e-3
