"""Conformer and Transformer separators against PyTorch, and their laws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from random_params import random_params
from separators import signal
from torch.nn import functional

import jaxsep
from experiments.benchmarks.conformer_torch import (
  MaskedSpectrumTorch,
  Stack,
  stack_variables,
)
from jaxsep.dsp import Stft
from jaxsep.models import ConformerSeparator, TransformerSeparator

STFT = Stft(n_fft=32, win_length=24, hop_length=8, window="hamming")
SIZES = {
  "stft": STFT,
  "num_layers": 2,
  "size": 8,
  "num_heads": 2,
  "feedforward_size": 12,
  "max_distance": 20,
}
# Nearly all calls have the same shape, and are compiled once.
TIME = 203
CONV = {"kernel_size": 5, "conv_channels": 12, "se_reduction": 2}
MODELS = {
  "conformer": ConformerSeparator(**SIZES, **CONV),
  "transformer": TransformerSeparator(**SIZES),
  "equation 4": ConformerSeparator(
    **SIZES, **CONV, macaron=False, glu_mode="multiplier", num_sources=3
  ),
}
every_model = pytest.mark.parametrize("name", MODELS)


@functools.cache
def made(name):
  model = MODELS[name]
  return model, random_params(model, signal(1, TIME)), jax.jit(model.apply)


@functools.cache
def trained(name):
  """The model in training, compiled; it also returns the statistics."""
  return jax.jit(
    functools.partial(MODELS[name].apply, train=True, mutable=["batch_stats"])
  )


@functools.cache
def hidden(model):
  return jax.jit(functools.partial(model.apply, method="hidden"))


# Reference.


@pytest.mark.parametrize(
  ("model", "expected"),
  [
    (ConformerSeparator(), 26_028_866),
    (ConformerSeparator(num_layers=6), 9_967_266),
    (ConformerSeparator(glu_mode="multiplier"), 26_028_866),
    (ConformerSeparator(macaron=False), 17_611_586),
    (ConformerSeparator(macaron=False, num_layers=6), 6_810_786),
    (TransformerSeparator(), 12_966_466),
  ],
)
def test_number_of_parameters(model, expected):
  inputs = model.example_inputs()
  variables = jax.eval_shape(model.init, jax.random.key(0), **inputs)
  found = sum(x.size for x in jax.tree.leaves(variables["params"]))
  assert found == expected


@every_model
@pytest.mark.parametrize("train", [False, True])
def test_equals_pytorch(name, train):
  model, shapes, apply = made(name)
  torch.manual_seed(0)
  sizes = {"size": 8, "heads": 2, "feedforward": 12, "distance": 20}
  if name == "transformer":
    options = {"macaron": False, "activation": functional.relu}
  else:
    options = {"channels": 12, "kernel": 5, "reduction": 2}
    options |= {"glu": model.glu_mode, "macaron": model.macaron}
  sources = model.num_sources
  stack = Stack(STFT.num_bins, sources, layers=2, **sizes, **options)
  for value in stack.parameters():
    torch.nn.init.normal_(value, std=0.3)
  net = MaskedSpectrumTorch(STFT, sources, stack).train(train)
  mixture = np.array(signal(2, TIME))
  variables = stack_variables(stack)
  assert jax.tree.map(np.shape, variables) == jax.tree.map(np.shape, shapes)
  expected = net(torch.from_numpy(mixture)).detach().numpy()
  if not train:
    np.testing.assert_allclose(apply(variables, mixture), expected, atol=1e-4)
    return
  whole = jnp.array([TIME, TIME])
  estimate, updated = trained(name)(variables, mixture, length=whole)
  np.testing.assert_allclose(estimate, expected, atol=1e-4)
  if name == "conformer":
    means = [layer.conv.norm.running_mean for layer in stack.layers]
    found = updated["batch_stats"]["layers"]["conv"]["norm"]["mean"]
    np.testing.assert_allclose(found, torch.stack(means), atol=1e-5)


# Laws.


@pytest.mark.parametrize("name", ["conformer", "transformer"])
def test_padding_and_other_examples_change_nothing(name):
  _, variables, apply = made(name)
  mixture = signal(2, 260)
  estimate = apply(variables, mixture, length=jnp.array([TIME, 17]))
  for row, length in enumerate((TIME, 17)):
    wanted = apply(variables, mixture[:, :length])[row]
    assert jnp.all(estimate[row, :, length:] == 0)
    np.testing.assert_allclose(estimate[row, :, :length], wanted, atol=1e-5)


def test_statistics_in_training_are_those_of_the_valid_frames():
  """Padding with other values changes none."""
  _, variables, _ = made("conformer")
  length = jnp.array([113, 177])
  first = trained("conformer")(variables, signal(2, TIME), length=length)
  inside = jnp.arange(TIME)[None] < length[:, None]
  other = jnp.where(inside, signal(2, TIME), 9.0)
  second = trained("conformer")(variables, other, length=length)
  np.testing.assert_allclose(first[0], second[0], atol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
    first[1],
    second[1],
  )


def test_level_changes_nothing_else():
  _, variables, apply = made("conformer")
  expected = 8 * apply(variables, signal(2, TIME))
  louder = apply(variables, 8 * signal(2, TIME))
  np.testing.assert_allclose(louder, expected, rtol=1e-3, atol=1e-3)


def test_masks_at_the_ends_are_those_of_the_neighbours():
  model, variables, apply = made("transformer")
  masks, spectrum, found = hidden(model)(variables, signal(2, TIME))
  np.testing.assert_array_equal(masks[..., 0], masks[..., 1])
  np.testing.assert_array_equal(masks[..., -1], masks[..., -2])
  assert masks.min() >= 0 and masks.max() <= 1 and jnp.ptp(masks) > 0.1
  assert found.shape == (2, 2, STFT.num_frames(TIME), 8)
  estimates = STFT.inverse(masks * spectrum[:, None], length=TIME)
  np.testing.assert_allclose(
    apply(variables, signal(2, TIME)), estimates, atol=1e-5
  )


def test_hidden_are_the_outputs_of_the_layers():
  """A model of the first layer alone has the first of them."""
  model, variables, _ = made("transformer")
  *_, found = hidden(model)(variables, signal(2, TIME))
  params = variables["params"]
  first = jax.tree.map(lambda x: x[:1], params["layers"])
  *_, expected = hidden(model.clone(num_layers=1))(
    {"params": params | {"layers": first}}, signal(2, TIME)
  )
  np.testing.assert_allclose(found[:1], expected, atol=1e-5)


# Edges.


@pytest.mark.parametrize("length", [1, 17])
def test_any_length_comes_back_whole(length):
  _, variables, apply = made("conformer")
  estimate = apply(variables, signal(2, length))
  assert estimate.shape == (2, 2, length)
  assert jnp.all(jnp.abs(estimate).max(axis=(0, 1)) > 0)


def test_silence_has_finite_gradients():
  _, variables, _ = made("conformer")

  @jax.jit
  @jax.grad
  def gradient(inputs):
    length = jnp.array([TIME, 0])
    estimate, _ = trained("conformer")(*inputs, length=length)
    return jnp.sum(jnp.square(estimate))

  for level in (0.0, 1e-6, 1e4):
    mixture = (level * signal(2, TIME)).at[:, :60].set(0.0)
    found = gradient((variables, mixture))
    assert all(jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(found))


# Transforms.


def test_bfloat16_is_close_to_float32():
  model, variables, apply = made("conformer")
  half = model.clone(dtype=jnp.bfloat16)
  estimate = jax.jit(half.apply)(variables, signal(2, TIME))
  exact = apply(variables, signal(2, TIME))
  assert estimate.dtype == jnp.float32
  error = jnp.sqrt(jnp.mean((estimate - exact) ** 2) / jnp.mean(exact**2))
  assert 1e-6 < error < 0.05


@every_model
def test_folder_round_trip(name, tmp_path):
  model, variables, _ = made(name)
  jaxsep.save(tmp_path / "model", model, variables, sample_rate_hz=16_000)
  loaded = jaxsep.load(tmp_path / "model")
  assert loaded.model == model
  jax.tree.map(np.testing.assert_array_equal, loaded.variables, variables)


# Failures.


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("shape", [(100,), (1, 2, 100), (2, 0)])
def test_refuses_other_shapes(shape):
  model, variables, _ = made("conformer")
  with pytest.raises(ValueError, match=r"\[batch, time\]"):
    model.apply(variables, jnp.zeros(shape))


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"num_sources": 0}, "num_sources"),
    ({"num_layers": 0}, "num_layers"),
    ({"num_heads": 3}, "num_heads must divide the 8 features"),
    ({"dropout": 1.0}, "dropout must be in"),
    ({"dtype": jnp.int8}, "dtype"),
    ({"glu_mode": "half"}, "unknown glu"),
  ],
)
def test_refuses_impossible_options(options, message):
  model = ConformerSeparator(**SIZES | options)
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(model.init, jax.random.key(0), signal(1, 100))
