"""Small models, recordings for them, and the files that a command wrote."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxsep.models import ConvTasNet, TemporalConvNet

RATE = 8000


def small_conv_tasnet(*, causal=False, **options):
  """A model of jaxsep, as small as it gets."""
  masker = TemporalConvNet(
    bottleneck_channels=4,
    hidden_channels=4,
    skip_channels=4,
    num_blocks=1,
    num_repeats=1,
    causal=causal,
  )
  return ConvTasNet(num_filters=8, masker=masker, **options)


def draw(model):
  """Variables of a model, fast."""
  generator = np.random.default_rng(0)
  shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 80)))
  return jax.tree.map(
    lambda leaf: generator.normal(0, 0.3, leaf.shape).astype(leaf.dtype), shapes
  )


class Bands(nn.Module):
  """Low and high frequencies; which is first changes from chunk to chunk."""

  num_sources: int = 2

  @nn.compact
  def __call__(self, mixture, *, length=None):
    length = mixture.shape[-1]
    spectrum = jnp.fft.rfft(mixture)
    is_high = jnp.arange(spectrum.shape[-1]) >= spectrum.shape[-1] // 2
    masks = jnp.stack([~is_high, is_high])[None]
    bands = jnp.fft.irfft(spectrum[:, None] * masks, length)
    seed = (jnp.abs(mixture[:, length // 2]) * 1e7).astype(jnp.uint32)
    swap = jax.vmap(lambda s: jax.random.bernoulli(jax.random.key(s)))(seed)
    return 30 * jnp.where(swap[:, None, None], bands[:, ::-1], bands)


def tones(length, rate=RATE, amplitude=0.1):
  """Two sources of noisy tones, one in each band `[2, T]`."""
  time_s = np.arange(length) / rate
  generator = np.random.default_rng(0)
  slow = generator.normal(size=(2, length // (rate // 4) + 1))
  shape = np.stack([np.repeat(row, rate // 4)[:length] for row in slow])
  pitch = np.array([[400.0], [3000.0]])
  carrier = np.sin(2 * np.pi * pitch * time_s)
  return (amplitude * carrier * (1 + 0.3 * shape)).astype(np.float32)


def outputs(tmp_path):
  folder = tmp_path / "out"
  return (
    sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []
  )
