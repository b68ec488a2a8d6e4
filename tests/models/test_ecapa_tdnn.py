"""ECAPA-TDNN against PyTorch, and its laws of padding and level."""

import functools
import math
import re

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from ecapa_tdnn_torch import EcapaTdnnTorch

from jaxsep import model_io
from jaxsep.models import EcapaTdnn

RATE = 8000
SMALL = EcapaTdnn(
  64, pooled_channels=24, embedding_size=12, sample_rate_hz=RATE
)


@functools.cache
def _network():
  """The network of PyTorch with random values, statistics too."""
  torch.manual_seed(0)
  net = EcapaTdnnTorch(64, 24, 12, RATE).eval()
  for name, value in net.state_dict().items():
    if name.endswith("running_var"):
      torch.nn.init.uniform_(value, 0.5, 2.0)
    elif value.is_floating_point():
      fan_in = value[0].numel()
      torch.nn.init.normal_(value, std=1 / math.sqrt(fan_in))
  return net


@functools.cache
def _variables():
  """The variables of `SMALL` that make it equal to `_network()`."""
  flat = {}
  for name, module in _network().named_modules():
    # The blocks and the parts of them are lists in PyTorch.
    name = re.sub(r"(block|part)s\.", r"\1_", name)
    name = re.sub("^(attention|scores)", r"pooling.\1", name)
    path = tuple(name.split("."))
    if isinstance(module, torch.nn.BatchNorm1d):
      flat["params", *path, "scale"] = module.weight
      flat["params", *path, "bias"] = module.bias
      flat["batch_stats", *path, "mean"] = module.running_mean
      flat["batch_stats", *path, "var"] = module.running_var
    elif isinstance(module, (torch.nn.Conv1d, torch.nn.Linear)):
      if path[-1] == "conv":
        kernel = module.weight.permute(2, 1, 0)
      else:
        kernel = module.weight.flatten(1).T
      flat["params", *path, "kernel"] = kernel
      flat["params", *path, "bias"] = module.bias
  flat = {path: value.detach().numpy() for path, value in flat.items()}
  return flax.traverse_util.unflatten_dict(flat)


@jax.jit
def _embed(signal, length, variables):
  return SMALL.apply(variables, signal, length=length)


@jax.jit
def _train(signal, length, variables):
  """Embeddings, updated statistics and two gradients; at 16 kHz."""

  # Of the first layer and the signal: what is wrong after them reaches them.
  def loss(stem, signal):
    params = variables["params"] | {"stem": stem}
    model = SMALL.clone(sample_rate_hz=16000)
    embedding, updated = model.apply(
      variables | {"params": params},
      signal,
      length=length,
      train=True,
      mutable=["batch_stats"],
    )
    return jnp.sum(jnp.sin(embedding)), (embedding, updated["batch_stats"])

  stem = variables["params"]["stem"]
  gradients, aux = jax.grad(loss, (0, 1), has_aux=True)(stem, signal)
  return *aux, gradients


def _noise(*shape):
  """Noise whose level changes with time, as speech."""
  rng = np.random.default_rng(0)
  level = np.exp(np.sin(np.arange(shape[-1]) / 300))
  return (0.1 * level * rng.standard_normal(shape)).astype(np.float32)


def _shapes(model):
  inputs = model.example_inputs()
  return jax.eval_shape(model.init, jax.random.key(0), **inputs)


@pytest.mark.parametrize(
  ("channels", "count"), [(1024, 15_444_544), (512, 6_978_176)]
)
def test_published_number_of_parameters(channels, count):
  params = _shapes(EcapaTdnn(channels))["params"]
  assert sum(math.prod(x.shape) for x in jax.tree.leaves(params)) == count


def test_equals_pytorch_and_padding_changes_nothing():
  variables = _variables()
  assert jax.tree.map(np.shape, variables) == jax.tree.map(
    np.shape, dict(_shapes(SMALL))
  )
  signal, length = _noise(2, 3003), np.array([3003, 1234])
  with torch.no_grad():
    alone = [
      _network()(torch.from_numpy(x[None, :count]))
      for x, count in zip(signal, length, strict=True)
    ]
  # Not even what no number can be made of changes anything.
  signal[1, 1234:] = np.nan
  embedding = _embed(signal, length, variables)
  np.testing.assert_allclose(embedding, torch.cat(alone), atol=1e-4, rtol=1e-4)


def test_one_sample_and_silence():
  signal, length = _noise(2, 3003), np.array([1, 3003])
  signal[0, 1:], signal[1] = np.nan, 0.0
  embeddings = _embed(signal, length, _variables())
  assert np.all(np.isfinite(embeddings))
  alone = jax.jit(SMALL.apply)(_variables(), signal[:1, :1])
  np.testing.assert_allclose(embeddings[:1], alone, atol=1e-4, rtol=1e-4)


def test_level_changes_nothing():
  signal, length = 10 * _noise(2, 3003), np.array([3003, 3003])
  embedding = _embed(signal, length, _variables())
  louder = _embed(4 * signal, length, _variables())
  np.testing.assert_allclose(louder, embedding, atol=1e-3)


@pytest.mark.parametrize("count", [3003, 1234])
def test_training_equals_pytorch_without_the_padding(count):
  net = EcapaTdnnTorch(64, 24, 12, 16000)
  net.load_state_dict(_network().state_dict())
  signal = _noise(2, 3003)
  with torch.no_grad():
    expected = net(torch.from_numpy(signal[:, :count])).numpy()
  signal[:, count:] = np.nan
  embedding, updated, _ = _train(signal, np.array([count] * 2), _variables())
  np.testing.assert_allclose(embedding, expected, atol=1e-3, rtol=1e-3)
  mean = net.state_dict()["stem.norm.running_mean"].numpy()
  np.testing.assert_allclose(
    updated["stem"]["norm"]["mean"], mean, atol=1e-4, rtol=1e-4
  )
  changed = jax.tree.map(
    lambda a, b: np.any(a != b), updated, _variables()["batch_stats"]
  )
  assert all(jax.tree.leaves(changed))


def test_gradients_of_silence_and_of_one_sample_are_finite():
  signal, length = np.zeros((2, 3003), np.float32), np.array([3003, 1])
  *_, gradients = _train(signal, length, _variables())
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))


def test_a_saved_model_is_read_back(tmp_path):
  model_io.save(tmp_path / "m", SMALL, _variables(), sample_rate_hz=RATE)
  loaded = model_io.load(tmp_path / "m")
  assert loaded.model == SMALL
  jax.tree.map(np.testing.assert_array_equal, loaded.variables, _variables())


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"num_channels": 60}, "num_channels must be a multiple of 8, not 60"),
    ({"sample_rate_hz": 8}, "sample_rate_hz must be at least 1000, not 8"),
    ({"embedding_size": 0}, "embedding_size must be at least 1, not 0"),
  ],
)
def test_impossible_options(options, message):
  with pytest.raises(ValueError, match=message):
    _shapes(EcapaTdnn(**options))


@pytest.mark.parametrize("shape", [(800,), (1, 0), (1, 2, 800)])
def test_signal_of_another_shape(shape, unchecked):
  with pytest.raises(ValueError, match=r"must have shape \[batch, time\]"):
    jax.eval_shape(SMALL.apply, _variables(), np.zeros(shape, np.float32))
