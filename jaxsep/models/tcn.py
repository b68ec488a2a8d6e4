"""The temporal convolutional network that estimates masks."""

import flax.linen as nn
import jax.numpy as jnp

from jaxsep.models.activations import get_activation
from jaxsep.models.initializers import uniform_fan_in
from jaxsep.models.norms import CumulativeLayerNorm, GlobalLayerNorm
from jaxsep.typing import Array, Float


def _norm(causal, name):
  return (CumulativeLayerNorm if causal else GlobalLayerNorm)(name=name)


def _prelu(x, slope):
  return jnp.where(x >= 0, x, slope * x)


class _Linear(nn.Module):
  features: int

  @nn.compact
  def __call__(self, x):
    shape = (x.shape[-1], self.features)
    init = uniform_fan_in(x.shape[-1])
    kernel = self.param("kernel", init, shape).astype(x.dtype)
    bias = self.param("bias", init, shape[1:]).astype(x.dtype)
    return x @ kernel + bias[None, None, :]


def depthwise_conv(padded, kernel, *, dilation):
  """Sum of shifted copies, each channel by its own kernel."""
  taps = kernel.shape[0]
  length = padded.shape[1] - (taps - 1) * dilation
  return sum(
    padded[:, tap * dilation : tap * dilation + length]
    * kernel[tap][None, None, :]
    for tap in range(taps)
  )


class ConvBlock(nn.Module):
  """One dilated, depthwise-separable block with a residual and a skip head.

  Maps `[[B]atch, [N]frames, [C]hannels]` to what is added to its input and
  what is added to the sum of skips.
  """

  hidden_channels: int
  skip_channels: int
  kernel_size: int
  dilation: int
  causal: bool = False

  @nn.compact
  def __call__(self, x):
    """Applies the block."""
    slope = nn.initializers.constant(0.25)
    h = _Linear(self.hidden_channels, name="expand")(x)
    h = _prelu(h, self.param("expand_slope", slope, ()).astype(x.dtype))
    h = _norm(self.causal, "expand_norm")(h)
    init = uniform_fan_in(self.kernel_size)
    kernel = self.param(
      "depthwise_kernel", init, (self.kernel_size, h.shape[-1])
    )
    bias = self.param("depthwise_bias", init, (h.shape[-1],))
    context = (self.kernel_size - 1) * self.dilation
    left = context if self.causal else context // 2
    h = jnp.pad(h, ((0, 0), (left, context - left), (0, 0)))
    h = depthwise_conv(h, kernel.astype(x.dtype), dilation=self.dilation)
    h = h + bias.astype(x.dtype)[None, None, :]
    h = _prelu(h, self.param("depthwise_slope", slope, ()).astype(x.dtype))
    h = _norm(self.causal, "depthwise_norm")(h)
    heads = _Linear(x.shape[-1] + self.skip_channels, name="heads")(h)
    return jnp.split(heads, [x.shape[-1]], axis=-1)


class TemporalConvNet(nn.Module):
  """Estimates one mask per source from a sequence of feature frames.

  Maps `[[B]atch, [N]frames, [F]eatures]` to
  `[[B]atch, [S]ources, [N]frames, [F]eatures]`.
  """

  num_sources: int = 2
  bottleneck_channels: int = 128
  hidden_channels: int = 512
  skip_channels: int = 128
  kernel_size: int = 3
  num_blocks: int = 8
  num_repeats: int = 3
  causal: bool = False
  mask_activation: str | None = "sigmoid"
  dtype: jnp.dtype = jnp.float32
  remat: bool = False

  @property
  def receptive_field(self) -> int:
    """Frames that one frame of the masks depends on."""
    per_repeat = (self.kernel_size - 1) * (2**self.num_blocks - 1)
    return 1 + self.num_repeats * per_repeat

  @nn.compact
  def __call__(
    self, features: Float[Array, "batch frames features"]
  ) -> Float[Array, "batch {self.num_sources} frames features"]:
    """Estimates the masks."""
    num_features = features.shape[-1]
    y = _norm(self.causal, "norm")(features).astype(self.dtype)
    y = _Linear(self.bottleneck_channels, name="bottleneck")(y)
    total = jnp.zeros((*y.shape[:2], self.skip_channels), y.dtype)
    block_class = nn.remat(ConvBlock) if self.remat else ConvBlock
    for index in range(self.num_repeats * self.num_blocks):
      residual, skip = block_class(
        self.hidden_channels,
        self.skip_channels,
        self.kernel_size,
        2 ** (index % self.num_blocks),
        self.causal,
        name=f"block_{index}",
      )(y)
      y = y + residual
      total = total + skip
    slope = self.param("mask_slope", nn.initializers.constant(0.25), ())
    total = _prelu(total, slope.astype(y.dtype))
    masks = _Linear(self.num_sources * num_features, name="mask")(total)
    masks = masks.reshape(*y.shape[:2], self.num_sources, num_features)
    masks = jnp.moveaxis(masks, 2, 1).astype(jnp.float32)
    return get_activation(self.mask_activation)(masks)
