"""Conv-TasNet: masks on a learned filterbank, all convolutional."""

import flax.linen as nn
import jax.numpy as jnp

from jaxsep.models.coders import Decoder, Encoder
from jaxsep.models.tcn import TemporalConvNet
from jaxsep.typing import Array, Float


class ConvTasNet(nn.Module):
  """Separates a waveform into sources by masks on a learned filterbank.

  Maps `[[B]atch, [T]ime]` to `[[B]atch, [S]ources, [T]ime]`. Any length from
  one sample on.

  References:
    Luo and Mesgarani, Conv-TasNet, 2019.
  """

  num_sources: int = 2
  causal: bool = False
  num_filters: int = 512
  filter_length: int = 16
  bottleneck_channels: int = 128
  hidden_channels: int = 512
  skip_channels: int = 128
  kernel_size: int = 3
  num_blocks: int = 8
  num_repeats: int = 3
  mask_activation: str | None = "sigmoid"
  encoder_activation: str | None = None
  dtype: jnp.dtype = jnp.float32
  remat: bool = False

  def setup(self):
    """Builds the three parts."""
    self.encoder = Encoder(
      self.num_filters, self.filter_length, self.encoder_activation
    )
    self.masker = TemporalConvNet(
      num_sources=self.num_sources,
      bottleneck_channels=self.bottleneck_channels,
      hidden_channels=self.hidden_channels,
      skip_channels=self.skip_channels,
      kernel_size=self.kernel_size,
      num_blocks=self.num_blocks,
      num_repeats=self.num_repeats,
      causal=self.causal,
      mask_activation=self.mask_activation,
      dtype=self.dtype,
      remat=self.remat,
    )
    self.decoder = Decoder(self.filter_length)

  @property
  def hop_length(self) -> int:
    """Samples from one frame to the next."""
    return self.filter_length // 2

  @property
  def receptive_field(self) -> int:
    """Samples that one frame of the masks depends on."""
    per_repeat = (self.kernel_size - 1) * (2**self.num_blocks - 1)
    frames = 1 + self.num_repeats * per_repeat
    return (frames - 1) * self.hop_length + self.filter_length

  def __call__(
    self, mixture: Float[Array, "batch time"]
  ) -> Float[Array, "batch {self.num_sources} time"]:
    """Separates the mixture."""
    if mixture.ndim != 2 or mixture.shape[1] < 1:
      raise ValueError(
        f"the mixture must have shape [batch, time], not {mixture.shape}."
      )
    features = self.encoder(mixture)
    masked = self.masker(features) * features[:, None]
    return self.decoder(masked, length=mixture.shape[1])
