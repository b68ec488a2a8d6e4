"""Conformer layers: positions, padding, statistics; parity is tested with
the separators."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from random_params import random_params
from separators import signal

from jaxsep.models.conformer import ConformerLayer, ConvModule
from jaxsep.models.relative_attention import (
  RelativeAttention,
  learnt_positions,
  sinusoidal_positions,
)

FRAMES, SIZE = 9, 8
KINDS = {
  "separator": {"glu": None, "se_reduction": 2, "conv_channels": 12},
  "multiplier": {"glu": "multiplier", "conv_channels": 12},
  "equation 4": {"macaron": False, "conv_channels": 8},
  "recogniser": {
    "positions": "sinusoidal",
    "norm": "layer",
    "final_norm": True,
    "use_bias": False,
    "conv_channels": 8,
  },
  "transformer": {
    "positions": None,
    "kernel_size": None,
    "macaron": False,
    "activation": "relu",
  },
}


def make_layer(kind, **options):
  options = {"kernel_size": 5} | KINDS[kind] | options
  return ConformerLayer(num_heads=2, feedforward_size=12, **options)


def positions_of(layer, frames):
  """What a layer of `SIZE` features gets for so many frames."""
  if layer.positions == "learnt":
    return learnt_positions(signal(7, SIZE // 2), frames)
  if layer.positions == "sinusoidal":
    return sinusoidal_positions(frames, SIZE)
  return None


@functools.cache
def made(kind):
  layer = make_layer(kind)
  x = signal(1, FRAMES, SIZE)
  positions = positions_of(layer, FRAMES)
  return layer, random_params(layer, x, positions=positions)


# Reference.


def test_rows_beyond_the_table_are_those_at_its_ends():
  table = np.arange(5.0, dtype=np.float32)[:, None]
  rows = learnt_positions(table, 4)[:, 0]
  np.testing.assert_array_equal(rows, [0, 0, 0, 1, 2, 3, 4, 4])


def test_sinusoids_are_even_and_of_the_distance():
  rows = sinusoidal_positions(5, 4)
  np.testing.assert_allclose(rows[2], rows[8], atol=1e-6)
  expected = [np.sin(3), np.cos(3), np.sin(0.03), np.cos(0.03)]
  np.testing.assert_allclose(rows[8], expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["learnt", "sinusoidal"])
@pytest.mark.parametrize("frames", [1, 9, 150])
def test_attention_equals_the_sum_over_pairs(kind, frames):
  """The scores by a double loop's formula, with a tensor `[N, N, K]`."""
  attention = RelativeAttention(num_heads=2, positions=kind)
  x = np.array(signal(1, frames, SIZE))
  positions = positions_of(attention, frames)
  variables = random_params(attention, x, positions=positions)
  found = jax.jit(attention.apply)(variables, x, positions=positions)
  params = jax.tree.map(np.float64, variables["params"])
  joint = x[0] @ params["query_key_value"]["kernel"]
  joint = joint + params["query_key_value"]["bias"]
  query, key, value = joint.reshape(frames, 3, 2, 4).transpose(1, 2, 0, 3)
  offset = np.arange(frames)[None] - np.arange(frames)[:, None] + frames
  rows = np.array(positions)[offset]
  if kind == "learnt":
    content, position, rows = query, query, rows[:, :, None]
  else:
    rows = (rows @ params["position"]["kernel"]).reshape(frames, frames, 2, 4)
    content = query + params["content_bias"][:, None]
    position = query + params["position_bias"][:, None]
  rows = np.broadcast_to(rows, (frames, frames, 2, 4))
  scores = content @ key.swapaxes(1, 2)
  scores += np.einsum("hnk,nmhk->hnm", position, rows)
  weights = np.exp(scores / 2 - (scores / 2).max(axis=-1, keepdims=True))
  mixed = weights / weights.sum(axis=-1, keepdims=True) @ value
  mixed = mixed.swapaxes(0, 1).reshape(frames, SIZE)
  expected = mixed @ params["out"]["kernel"] + params["out"]["bias"]
  np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["learnt", "sinusoidal"])
def test_gradient_of_attention_equals_differences(kind):
  attention = RelativeAttention(num_heads=2, positions=kind)
  x = 0.3 * signal(1, 150, SIZE)
  positions = 0.3 * positions_of(attention, 150)
  variables = random_params(attention, x, positions=positions)
  mixed = jax.jit(
    lambda x, positions: attention.apply(variables, x, positions=positions)
  )
  check_grads(mixed, (x, positions), 1, ["rev"], atol=0.02, rtol=0.02)


# Laws.


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind):
  layer, variables = made(kind)
  x = signal(2, FRAMES, SIZE)
  valid = jnp.arange(FRAMES)[None] < jnp.array([[FRAMES], [6]])
  run = jax.jit(layer.apply)
  found = run(variables, x, valid, positions=positions_of(layer, FRAMES))
  alone = run(variables, x[1:, :6], positions=positions_of(layer, 6))
  np.testing.assert_allclose(found[1:, :6], alone, atol=1e-5)


def test_statistics_are_those_of_the_valid_frames_of_the_batch():
  module = ConvModule(channels=6, kernel_size=1)
  x = signal(2, FRAMES, SIZE)
  variables = random_params(module, x)
  valid = jnp.arange(FRAMES)[None] < jnp.array([[FRAMES], [4]])
  apply = jax.jit(
    functools.partial(module.apply, train=True, mutable=["batch_stats"])
  )
  found, updated = apply(variables, x, valid)
  # All valid frames one after another, as one example without padding.
  joined = jnp.concatenate([x[0], x[1, :4]])[None]
  expected, wanted = apply(variables, joined)
  np.testing.assert_allclose(found[0], expected[0, :FRAMES], atol=1e-5)
  np.testing.assert_allclose(found[1, :4], expected[0, FRAMES:], atol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), updated, wanted
  )


def test_dropout_acts_in_training_only():
  layer = make_layer("recogniser", dropout=0.5)
  x, positions = signal(1, FRAMES, SIZE), sinusoidal_positions(FRAMES, SIZE)
  variables = random_params(layer, x, positions=positions)
  apply = functools.partial(
    jax.jit(layer.apply, static_argnames="train"),
    variables,
    x,
    positions=positions,
  )
  first, second = (
    apply(train=True, rngs={"dropout": jax.random.key(seed)})
    for seed in range(2)
  )
  assert jnp.abs(first - second).max() > 1e-2
  without = jax.jit(make_layer("recogniser").apply)
  np.testing.assert_allclose(
    apply(), without(variables, x, positions=positions), atol=1e-6
  )


# Edges.


@pytest.mark.parametrize("kind", ["separator", "recogniser"])
def test_an_example_without_frames_has_finite_gradients(kind):
  layer, variables = made(kind)
  valid = jnp.arange(FRAMES)[None] < jnp.array([[FRAMES], [0]])

  @jax.jit
  @jax.grad
  def gradient(inputs):
    positions = positions_of(layer, FRAMES)
    y, _ = layer.apply(
      *inputs, valid, positions=positions, train=True, mutable=["batch_stats"]
    )
    return jnp.sum(jnp.square(y))

  found = gradient((variables, signal(2, FRAMES, SIZE)))
  assert all(jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(found))


# Failures.


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"num_heads": 3}, "num_heads must divide the 8 features"),
    ({"kernel_size": 4}, "kernel_size must be odd"),
    ({"conv_channels": 5, "glu": "multiplier"}, "channels must be even"),
    ({"glu": "half"}, "unknown glu"),
    ({"norm": "group"}, "unknown norm"),
    ({"positions": "absolute"}, "unknown positions"),
    ({"positions": "sinusoidal"}, r"sinusoidal_positions\(...\)"),
    ({"activation": "sine"}, "unknown activation"),
  ],
)
def test_refuses_impossible_options(options, message):
  layer = ConformerLayer(**{"positions": None} | options)
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(layer.init, jax.random.key(0), signal(1, FRAMES, SIZE))
