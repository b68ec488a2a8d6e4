"""Convolutional and recurrent parts of networks on spectrograms."""

import flax.linen as nn
import jax.numpy as jnp

from jaxsep.models._linear import Linear
from jaxsep.models.initializers import uniform_fan_in
from jaxsep.models.recurrent import LSTM

KERNEL = 3


class Convolution(nn.Module):
  """3 x 3 convolution of frames and bins `[B, N, F, C]`, or its transpose.

  Frames that are not `valid [B, N, 1]` count as zeros. Frames keep their
  number; bins are strided, with `padding` zeros at both ends of a convolution,
  which its transpose cuts off.
  """

  features: int
  stride: int = 2
  padding: int = 1
  transpose: bool = False

  @nn.compact
  def __call__(self, x, valid):
    if valid is not None:
      x = jnp.where(valid[..., None], x, 0.0)
    make, padding = nn.Conv, self.padding
    if self.transpose:
      make, padding = nn.ConvTranspose, KERNEL - 1 - self.padding
    init = uniform_fan_in(KERNEL * KERNEL * x.shape[-1])
    return make(
      self.features,
      (KERNEL, KERNEL),
      (1, self.stride),
      padding=((1, 1), (padding, padding)),
      kernel_init=init,
      bias_init=init,
      name="conv",
    )(x)


class Recurrent(nn.Module):
  """Bidirectional LSTMs over the frames, and back to the same shape."""

  hidden_size: int
  num_layers: int

  @nn.compact
  def __call__(self, x, valid):
    """Maps `[B, N, F, C]`, all bins and channels of a frame at once."""
    lengths = None if valid is None else jnp.sum(valid[..., 0], axis=1)
    y = x.reshape(*x.shape[:2], -1)
    features = y.shape[-1]
    for index in range(self.num_layers):
      y = LSTM(self.hidden_size, name=f"lstm_{index}")(y, lengths)
    return Linear(features, use_bias=False, name="out")(y).reshape(x.shape)
