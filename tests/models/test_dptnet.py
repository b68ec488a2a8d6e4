import functools

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from dptnet_torch import DPTNetTorch
from random_params import random_params
from separator_checks import (
  OTHER_SHAPES,
  check_bfloat16,
  check_examples_do_not_meet,
  check_finite_at_all_levels,
  check_learns_two_tones,
  check_length_comes_back,
  check_level_changes_nothing_else,
  check_padding_changes_nothing,
  check_refuses_options,
  check_refuses_shape,
  check_sharded,
  count,
  signal,
)

from jaxsep.models import DPTNet

SMALL = {
  "num_filters": 16,
  "feature_size": 8,
  "filter_length": 4,
  "padding": "both",
  "chunk_length": 10,
  "num_blocks": 1,
  "num_heads": 2,
  "hidden_size": 6,
}


@functools.cache
def small(**options):
  """A small model, its parameters, and itself as a compiled function."""
  model = DPTNet(**{**SMALL, **options})
  params = random_params(model, signal(1, 100))["params"]
  return model, params, jax.jit(lambda p, x: model.apply({"params": p}, x))


def nested(params):
  return flax.traverse_util.unflatten_dict(params, sep=".")


def relative_error(ours, theirs):
  return np.abs(ours - theirs).max() / np.abs(theirs).max()


# Reference.


@pytest.mark.parametrize("filter_length", [2, 8])
def test_equals_a_plain_pytorch_version(filter_length):
  torch.manual_seed(0)
  peer = DPTNetTorch(3, 12, filter_length, 8, 10, 2, 2, 5)
  for value in peer.parameters():
    if value.ndim == 1:
      value.data += 0.3 * torch.randn_like(value)
  model = DPTNet(
    num_sources=3,
    num_filters=12,
    filter_length=filter_length,
    feature_size=8,
    chunk_length=10,
    num_blocks=2,
    num_heads=2,
    hidden_size=5,
  )
  # The tail of a signal that fills no frame is for padding="both".
  mixture = signal(2, 80)
  ours = jax.jit(model.apply)({"params": nested(peer.as_params())}, mixture)
  with torch.inference_mode():
    theirs = peer(torch.from_numpy(np.array(mixture))).numpy()
  assert relative_error(ours, theirs) < 1e-4


def test_number_of_parameters():
  shape = jax.ShapeDtypeStruct((1, 100), jnp.float32)
  params = jax.eval_shape(DPTNet().init, jax.random.key(0), shape)["params"]
  assert count(params) == 2_822_657
  layers = [
    params[f"block_{block}"][way]
    for block in range(6)
    for way in ("intra", "inter")
  ]
  # PyTorch has a second bias in each direction of an LSTM.
  second = sum(layer["lstm"]["bias"].size for layer in layers)
  assert count(params) + second == 2_834_945
  peer = sum(value.numel() for value in DPTNetTorch().parameters())
  assert peer == 2_834_945


# Laws.


@pytest.mark.parametrize("norm", ["layer", "global", "channel"])
def test_examples_of_a_batch_do_not_meet(norm):
  _, params, apply = small(norm=norm)
  check_examples_do_not_meet(apply, params, time=130)


@pytest.mark.parametrize(
  "options",
  [
    {},
    {"norm": "global", "chunk_padding": "chunk", "padding": "none"},
    {"norm": "channel", "remat": True, "inter_bidirectional": False},
  ],
)
def test_padding_changes_nothing(options):
  model, params, _ = small(**options)
  check_padding_changes_nothing(model, params)


def test_starts_at_the_scale_of_the_authors():
  # A linear layer of PyTorch from 256 filters: uniform within 1 / 16.
  model = DPTNet(**SMALL | {"num_filters": 256, "filter_length": 2})
  variables = jax.jit(model.init)(jax.random.key(0), **model.example_inputs())
  kernel = variables["params"]["decoder"]["kernel"]
  assert kernel.shape == (256, 2)
  assert 0.9 / 16 < jnp.abs(kernel).max() <= 1 / 16


def test_level_changes_nothing_else():
  _, params, apply = small()
  check_level_changes_nothing_else(apply, params, time=130)


def test_every_sample_sees_every_other():
  _, params, apply = small()
  mixture = signal(1, 300)
  ends = lambda x: jnp.sum(apply(params, x)[..., :4])  # noqa: E731
  gradient = jax.jit(jax.grad(ends))(mixture)
  assert jnp.all(jnp.abs(gradient) > 0)


def test_remat_changes_nothing_but_memory():
  mixture = signal(2, 400)
  model, params, _ = small(num_blocks=2)

  def compiled(model):
    loss = lambda p: jnp.sum(model.apply({"params": p}, mixture) ** 2)  # noqa: E731
    return jax.jit(jax.grad(loss)).lower(params).compile()

  kept, again = compiled(model), compiled(model.clone(remat=True))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
    again(params),
    kept(params),
  )
  memory = [c.memory_analysis().temp_size_in_bytes for c in (again, kept)]
  assert memory[0] < 0.7 * memory[1]


def test_remat_drops_the_same():
  mixture = signal(1, 100)
  model, params, _ = small(dropout=0.3)

  def gradient(model):
    def loss(params):
      estimate = model.apply(
        {"params": params},
        mixture,
        train=True,
        rngs={"dropout": jax.random.key(1)},
      )
      return jnp.sum(estimate**2)

    return jax.jit(jax.grad(loss))(params)

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
    gradient(model.clone(remat=True)),
    gradient(model),
  )


def test_dropout_acts_in_training_only():
  model, params, apply = small(dropout=0.3)
  plain = small()[2]
  mixture = signal(1, 100)
  np.testing.assert_array_equal(apply(params, mixture), plain(params, mixture))
  drop = jax.jit(
    lambda key: model.apply(
      {"params": params}, mixture, train=True, rngs={"dropout": key}
    )
  )
  one, other = (drop(jax.random.key(seed)) for seed in (0, 1))
  assert not np.allclose(one, other)
  np.testing.assert_array_equal(one, drop(jax.random.key(0)))


# Edges.


@pytest.mark.parametrize("length", [1, 2, 7])
def test_any_length_comes_back_whole(length):
  _, params, apply = small()
  check_length_comes_back(apply, params, length)


@pytest.mark.parametrize("length", [1, 2, 3])
def test_filters_of_two_samples_take_any_length(length):
  _, params, apply = small(filter_length=2, padding="none")
  estimate = apply(params, signal(1, length))
  assert estimate.shape == (1, 2, length)
  assert jnp.all(jnp.abs(estimate).max(axis=1) > 0)


@pytest.mark.parametrize("norm", ["layer", "global"])
def test_silent_and_loud_mixtures_are_finite(norm):
  _, params, apply = small(norm=norm)
  check_finite_at_all_levels(apply, params, time=200)


# Transforms.


def test_bfloat16_is_close_to_float32():
  half = small(dtype=jnp.bfloat16)
  check_bfloat16(small()[1:], half[1:], time=200, most=0.05)


def test_sharded_batch_equals_unsharded():
  _, params, apply = small()
  check_sharded(apply, params, time=60, gradient_atol=1e-4)


def test_learns_one_batch():
  model = DPTNet(**SMALL | {"num_filters": 32, "filter_length": 16})
  params = jax.jit(model.init)(jax.random.key(0), signal(1, 800))["params"]
  check_learns_two_tones(
    lambda p, x: model.apply({"params": p}, x), params, most=0.01
  )


# Failures.


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("shape", OTHER_SHAPES)
def test_refuses_other_shapes(shape):
  model, params, _ = small()
  check_refuses_shape(model, params, shape)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"filter_length": 15}, "filter_length must be even"),
    ({"chunk_length": 15}, "chunk_length must be even"),
    ({"norm": "batch"}, "unknown norm 'batch'"),
    ({"num_heads": 3}, "num_heads must divide the 8 features"),
    ({"dropout": 1.0}, "dropout must be in"),
    ({"mask_activation": "swish"}, "unknown activation 'swish'"),
    ({"project_features": False}, r"feature_size \(8\) must be num_filters"),
    ({"chunk_padding": "all"}, "padding is 'hop' or 'chunk'"),
    ({"num_blocks": 0}, "num_blocks"),
    ({"dtype": jnp.int8}, "dtype"),
  ],
)
def test_refuses_impossible_options(options, message):
  check_refuses_options(DPTNet(**{**SMALL, **options}), message)
