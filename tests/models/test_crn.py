"""CRN and Dense-CRN against PyTorch, and their laws."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from crn_torch import CrnTorch, DenseCrnTorch, crn_variables
from random_params import random_params
from separators import signal

import jaxsep
from experiments.benchmarks.conformer_torch import MaskedSpectrumTorch
from jaxsep.dsp import Stft
from jaxsep.models import CRN, DenseCRN

STFT = Stft(n_fft=32, win_length=24, hop_length=8, window="hamming")
SIZES = {"stft": STFT, "channels": (3, 4, 6), "hidden_size": 5}
MODELS = {
  "crn": CRN(**SIZES, num_recurrent=2),
  "dense crn": DenseCRN(**SIZES, num_recurrent=2, num_dense=1),
}
TWINS = {
  "crn": CrnTorch,
  "dense crn": functools.partial(DenseCrnTorch, dense=1),
}
# Nearly all calls have the same shape, and are compiled once.
TIME = 203
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


# Reference.


@pytest.mark.parametrize(
  ("model", "expected"),
  [
    # PyTorch has a second bias in the 6 and 4 directions of the LSTMs.
    (CRN(), 20_369_890 - 6 * 4 * 512),
    (DenseCRN(), 17_985_090 - 4 * 4 * 600),
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
  _, shapes, apply = made(name)
  torch.manual_seed(0)
  network = TWINS[name](17, 2, (3, 4, 6), 5, 2)
  for value in network.parameters():
    torch.nn.init.normal_(value, std=0.3)
  variables = jax.tree.map(
    lambda x: x.detach().numpy().copy(), crn_variables(network)
  )
  net = MaskedSpectrumTorch(STFT, 2, network).train(train)
  mixture = np.array(signal(2, TIME))
  assert jax.tree.map(np.shape, variables) == jax.tree.map(np.shape, shapes)
  if train:
    whole = jnp.array([TIME, TIME])
    estimate, _ = trained(name)(variables, mixture, length=whole)
  else:
    estimate = apply(variables, mixture)
  expected = net(torch.from_numpy(mixture)).detach().numpy()
  np.testing.assert_allclose(estimate, expected, atol=1e-4)


# Laws.


@every_model
def test_padding_and_other_examples_change_nothing(name):
  _, variables, apply = made(name)
  mixture = signal(2, 260)
  estimate = apply(variables, mixture, length=jnp.array([TIME, 17]))
  for row, length in enumerate((TIME, 17)):
    wanted = apply(variables, mixture[:, :length])[row]
    assert jnp.all(estimate[row, :, length:] == 0)
    np.testing.assert_allclose(estimate[row, :, :length], wanted, atol=1e-5)


def test_statistics_in_training_are_those_of_the_valid_frames():
  _, variables, _ = made("crn")
  length = jnp.array([113, 177])
  mixture = signal(2, TIME)
  first = trained("crn")(variables, mixture, length=length)
  more = jnp.pad(mixture[:, :177], ((0, 0), (0, 63)), constant_values=9)
  second = trained("crn")(variables, more, length=length)
  np.testing.assert_allclose(first[0], second[0][..., :TIME], atol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
    first[1],
    second[1],
  )


# Edges.


@every_model
@pytest.mark.parametrize("length", [1, 17])
def test_any_length_comes_back_whole(name, length):
  _, variables, apply = made(name)
  estimate = apply(variables, signal(2, length))
  assert estimate.shape == (2, 2, length)
  assert jnp.all(jnp.abs(estimate).max(axis=(0, 1)) > 0)


@every_model
def test_silence_has_finite_gradients(name):
  _, variables, _ = made(name)

  @jax.jit
  @jax.grad
  def gradient(inputs):
    estimate, _ = trained(name)(*inputs, length=jnp.array([TIME, 0]))
    return jnp.sum(jnp.square(estimate))

  for level in (0.0, 1.0):
    mixture = (level * signal(2, TIME)).at[:, :60].set(0.0)
    found = gradient((variables, mixture))
    assert all(jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(found))


@every_model
def test_folder_round_trip(name, tmp_path):
  model, variables, _ = made(name)
  jaxsep.save(tmp_path / "model", model, variables, sample_rate_hz=16_000)
  loaded = jaxsep.load(tmp_path / "model")
  assert loaded.model == model
  jax.tree.map(np.testing.assert_array_equal, loaded.variables, variables)


# Failures.


@every_model
@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"channels": (3,) * 7}, "must be a multiple of"),
    ({"hidden_size": 0}, "hidden_size"),
    ({"num_recurrent": 0}, "num_recurrent"),
  ],
)
def test_refuses_impossible_options(name, options, message):
  model = MODELS[name].clone(**options)
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(model.init, jax.random.key(0), signal(1, 100))
