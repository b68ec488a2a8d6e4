"""CRN: a convolutional recurrent network that estimates masks."""

import flax.linen as nn
import jax.numpy as jnp

from jaxsep.models._masked_spectrum import MaskedSpectrum
from jaxsep.models._options import check_positive
from jaxsep.models._spectral_convolution import Convolution, Recurrent


class CRN(MaskedSpectrum):
  """Separates a waveform by masks from a convolutional recurrent network.

  Maps `[[B]atch, [T]ime]` to `[[B]atch, [S]ources, [T]ime]`, for any length
  from one sample on. Convolutions halve the frequencies of the normalised log
  spectrum, LSTMs run over its frames, and a decoder for each source doubles
  the frequencies again, to whose inputs those of the encoder are added.

  The defaults have 20,357,602 parameters, in PyTorch 20,369,890 (the 20.37 M
  of the paper), as each direction of an LSTM has a second bias there. The paper
  prints its size only; of the two networks that fit it, this is the one with a
  decoder for each source.

  For `length`, `train` and the masks of the outermost bins see
  `ConformerSeparator`.

  Attributes:
    num_sources: Speakers to separate.
    stft: The short-time Fourier transform; its bins less one must be a multiple
      of `2 ** len(channels)`.
    channels: Channels of the encoder's layers.
    hidden_size: Width of an LSTM in one direction.
    num_recurrent: LSTM layers.

  References:
    Tan and Wang, A convolutional recurrent neural network for real-time speech
    enhancement, 2018; Wu et al., Interspeech 2021, arXiv 2107.01922, table 1.

  Example:
    >>> import jax
    >>> model = CRN(channels=(4, 8), hidden_size=8, num_recurrent=1)
    >>> mixture = jnp.zeros((1, 800))
    >>> variables = jax.jit(model.init)(jax.random.key(0), mixture)
    >>> model.apply(variables, mixture).shape
    (1, 2, 800)
  """

  channels: tuple[int, ...] = (16, 32, 64, 64, 128, 128, 256)
  hidden_size: int = 512
  num_recurrent: int = 3

  @nn.compact
  def _network(self, features, valid, train):
    check_positive(
      hidden_size=self.hidden_size, num_recurrent=self.num_recurrent
    )
    bins, factor = features.shape[-1], 2 ** len(self.channels)
    if (bins - 1) % factor:
      raise ValueError(
        f"with {len(self.channels)} channels, the bins of the STFT less one"
        f" must be a multiple of {factor}, not {bins - 1}."
      )
    x, skips = features[..., None], []
    for index, channels in enumerate(self.channels):
      x = Convolution(channels, name=f"encoder_{index}")(x, valid)
      x = _activated(x, valid, train, f"encoder_norm_{index}")
      skips.append(x)
    x = Recurrent(self.hidden_size, self.num_recurrent, name="recurrent")(
      x, valid
    )
    masks = [
      self._decode(f"decoder_{source}", x, skips, valid, train)
      for source in range(self.num_sources)
    ]
    return jnp.stack(masks, axis=1), None

  def _decode(self, name, x, skips, valid, train):
    """One source's masks before their sigmoid, `[B, N, F]`."""
    outputs = [*reversed(self.channels[:-1]), 1]
    for index, (channels, skip) in enumerate(
      zip(outputs, reversed(skips), strict=True)
    ):
      layer = Convolution(channels, transpose=True, name=f"{name}_{index}")
      x = layer(x + skip, valid)
      if index < len(outputs) - 1:
        x = _activated(x, valid, train, f"{name}_norm_{index}")
    return x[..., 0]


def _activated(x, valid, train, name):
  """Batch norm of the valid frames, then a leaky rectifier."""
  norm = nn.BatchNorm(
    use_running_average=not train,
    momentum=0.9,
    epsilon=1e-5,
    use_fast_variance=False,
    name=name,
  )
  mask = None if valid is None else valid[..., None]
  return nn.leaky_relu(norm(x, mask=mask), 0.01)
