"""Small causal models, and a whole mixture streamed through one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep import dsp
from jaxsep.models import ConvTasNet, SpectrogramTasNet, TemporalConvNet


def masker(**options):
  small = {
    "bottleneck_channels": 8,
    "hidden_channels": 16,
    "skip_channels": 8,
    "num_blocks": 2,
    "num_repeats": 1,
    "causal": True,
  }
  return TemporalConvNet(**{**small, **options})


def conv_tasnet(network=None, **options):
  return ConvTasNet(num_filters=16, masker=network or masker(), **options)


def spectrogram_tasnet(network=None, **options):
  return SpectrogramTasNet(
    masker=network or masker(),
    **{"stft": dsp.Stft(n_fft=64, hop_length=16), **options},
  )


@functools.cache
def with_variables(model):
  """A model, random variables, and the model on the whole, compiled."""
  mixture = jax.random.normal(jax.random.key(0), (1, 100))
  shapes = jax.eval_shape(model.init, jax.random.key(0), mixture)
  generator = np.random.default_rng(0)

  def draw(path, shape):
    values = 0.3 * generator.standard_normal(shape.shape)
    return jnp.float32(values + ("scale" in path[-1].key))

  return model, jax.tree.map_with_path(draw, shapes), jax.jit(model.apply)


def in_chunks(live, variables, mixture, num_hops, **conditions):
  """Chunks of these sizes over and over, and the end."""
  state = live.init(variables, len(mixture), **conditions)
  parts, start = [], 0
  num_rest = mixture.shape[1] % live.hop_length
  stop = mixture.shape[1] - num_rest
  for number in range(stop):
    if start == stop:
      break
    length = live.hop_length * num_hops[number % len(num_hops)]
    chunk = mixture[:, start : min(start + length, stop)]
    state, estimates = live.step(variables, state, chunk)
    assert estimates.shape[2] == chunk.shape[1]
    parts.append(estimates)
    start += chunk.shape[1]
  rest = [mixture[:, stop:]] if num_rest else []
  parts.append(live.finish(variables, state, *rest))
  return jnp.concatenate(parts, axis=-1)
