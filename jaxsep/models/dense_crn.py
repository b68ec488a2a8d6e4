"""Dense-CRN: a convolutional recurrent network with dense blocks."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxsep.models._masked_spectrum import MaskedSpectrum
from jaxsep.models._options import check_positive
from jaxsep.models._spectral_convolution import Convolution, Recurrent

_EPS = 1e-5
_DENSE_LAYERS = 5


class DenseCRN(MaskedSpectrum):
  """Separates a waveform by masks from a densely connected U-net.

  Maps `[[B]atch, [T]ime]` to `[[B]atch, [S]ources, [T]ime]`, for any length
  from one sample on. As `CRN`, but with instance norms, one decoder for all
  sources, whose inputs are concatenated with those of the encoder, and dense
  blocks where the frequencies are many: five convolutions, each of all outputs
  before it.

  The defaults have 17,975,490 parameters, in PyTorch 17,985,090 (the 17.99 M
  of the paper), as each direction of an LSTM has a second bias there. The paper
  prints its size only; these widths are fitted to it.

  For `length` and the masks of the outermost bins see `ConformerSeparator`;
  `train` changes nothing.

  Attributes:
    num_sources: Speakers to separate.
    stft: The short-time Fourier transform; its bins less one must be a multiple
      of `2 ** (len(channels) - 1)`, at least the double of it.
    channels: Channels of the encoder's layers.
    hidden_size: Width of an LSTM in one direction.
    num_recurrent: LSTM layers.
    num_dense: Layers with a dense block: the first of the encoder and the last
      of the decoder.

  References:
    Wang, Wang and Wang, Complex spectral mapping for single- and multi-channel
    speech enhancement and robust ASR, 2020; Wu et al., Interspeech 2021, arXiv
    2107.01922, table 1.

  Example:
    >>> model = DenseCRN(
    ...   channels=(2, 4, 4), hidden_size=8, num_recurrent=1, num_dense=1
    ... )
    >>> mixture = jnp.zeros((1, 800))
    >>> variables = jax.jit(model.init)(jax.random.key(0), mixture)
    >>> model.apply(variables, mixture).shape
    (1, 2, 800)
  """

  channels: tuple[int, ...] = (16, 32, 32, 32, 32, 64, 128, 512)
  hidden_size: int = 600
  num_recurrent: int = 2
  num_dense: int = 4

  @nn.compact
  def _network(self, features, valid, train):
    del train
    check_positive(
      hidden_size=self.hidden_size, num_recurrent=self.num_recurrent
    )
    bins, factor = features.shape[-1], 2 ** (len(self.channels) - 1)
    if (bins - 1) % factor or bins - 1 < 2 * factor:
      raise ValueError(
        f"with {len(self.channels)} channels, the bins of the STFT less one"
        f" must be a multiple of {factor} and above it, not {bins - 1}."
      )
    x, skips = features[..., None], []
    for index, channels in enumerate(self.channels):
      stride = 2 if index else 1
      x = Convolution(channels, stride, 0, name=f"encoder_{index}")(x, valid)
      if index:  # The first convolution stands alone.
        x = _normalised(x, valid)
      if index < self.num_dense:
        x = _Dense(channels, channels, name=f"encoder_dense_{index}")(x, valid)
      skips.append(x)
    recurrent = Recurrent(
      self.hidden_size, self.num_recurrent, name="recurrent"
    )
    x = recurrent(x, valid)
    outputs = [*reversed(self.channels[:-1]), self.num_sources]
    for index, channels in enumerate(outputs):
      skip = skips.pop()
      x = jnp.concatenate([x, skip], axis=-1)
      last = index == len(outputs) - 1
      if index >= len(outputs) - self.num_dense:
        growth, width = skip.shape[-1], x.shape[-1]
        x = _Dense(growth, width, name=f"decoder_dense_{index}")(x, valid)
      layer = Convolution(
        channels, 1 if last else 2, 0, True, name=f"decoder_{index}"
      )
      x = layer(x, valid)
      if not last:
        x = _normalised(x, valid)
    return jnp.moveaxis(x, -1, 1), None


class _Dense(nn.Module):
  """A dense block `[B, N, F, C]`: convolutions of all that is before them."""

  growth: int
  features: int

  @nn.compact
  def __call__(self, x, valid):
    for index in range(_DENSE_LAYERS):
      last = index == _DENSE_LAYERS - 1
      features = self.features if last else self.growth
      y = Convolution(features, 1, name=f"layer_{index}")(x, valid)
      y = _normalised(y, valid)
      x = y if last else jnp.concatenate([x, y], axis=-1)
    return x


def _normalised(x, valid):
  """ELU, then zero mean and unit variance of every channel of an example."""
  x = jax.nn.elu(x)
  mask = None if valid is None else valid[..., None]
  mean = jnp.mean(x, axis=(1, 2), keepdims=True, where=mask)
  squares = jnp.square(x - mean)
  variance = jnp.mean(squares, axis=(1, 2), keepdims=True, where=mask)
  return (x - mean) * jax.lax.rsqrt(variance + _EPS)
