"""Small separators for tests."""

import dataclasses
import functools

import jax
import optax
from random_params import random_params

from jaxsep.dsp import Stft
from jaxsep.models import (
  ConvTasNet,
  DPTNet,
  SpectrogramTasNet,
  TemporalConvNet,
  TFGridNet,
)

MASKER = {
  "bottleneck_channels": 8,
  "hidden_channels": 16,
  "skip_channels": 8,
  "num_blocks": 2,
  "num_repeats": 1,
}
SMALL = {
  ConvTasNet: {"num_filters": 16, **MASKER},
  SpectrogramTasNet: {"n_fft": 64, "hop_length": 16, **MASKER},
  DPTNet: {
    "num_filters": 16,
    "feature_size": 8,
    "filter_length": 4,
    "padding": "both",
    "chunk_length": 10,
    "num_blocks": 1,
    "num_heads": 2,
    "hidden_size": 6,
  },
  TFGridNet: {
    "n_fft": 32,
    "hop_length": 16,
    "window": "sqrt_hann",
    "feature_size": 4,
    "num_blocks": 1,
    "hidden_size": 6,
    "stride": 2,
    "num_heads": 2,
    "key_size": 34,
  },
}


def signal(*shape, seed=0):
  return jax.random.normal(jax.random.key(seed), shape)


def nest(model_class, **options):
  """A model, its options told apart from those of the values in it."""
  names = _fields(model_class)
  nested = {
    name: value_class(
      **{key: options.pop(key) for key in _fields(value_class) & options.keys()}
    )
    for name, value_class in (("masker", TemporalConvNet), ("stft", Stft))
    if name in names
  }
  return model_class(**nested, **options)


def _fields(value_class):
  return {field.name for field in dataclasses.fields(value_class)}


@functools.cache
def small(model_class, **options):
  """A small model, its variables, and itself as a compiled function."""
  model = nest(model_class, **SMALL[model_class] | options)
  return model, random_params(model, signal(1, 200)), jax.jit(model.apply)


def bytes_kept(function, variables):
  """Bytes of what the gradient keeps of the forward pass."""
  pullback = jax.eval_shape(lambda v: jax.vjp(function, v)[1], variables)
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(pullback))


def learn(loss, variables, *, steps):
  """The loss before the last of some steps of Adam."""
  optimizer = optax.adam(1e-2)

  @jax.jit
  def step(variables, state):
    value, gradient = jax.value_and_grad(loss)(variables)
    update, state = optimizer.update(gradient, state)
    return optax.apply_updates(variables, update), state, value

  state = optimizer.init(variables)
  for _ in range(steps):
    variables, state, value = step(variables, state)
  return value
