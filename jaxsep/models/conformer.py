"""Conformer layers, shared by separators and recognisers.

Maps `[[B]atch, [N]frames, [D]features]` to the same shape. Frames that are not
`valid` are padding and influence no other frame: not through attention, not
through the convolution, not through a mean over time, and not through the
statistics of a batch norm. What comes out for them means nothing.

References:
  Gulati et al., Conformer: convolution-augmented transformer for speech
  recognition, 2020, arXiv 2005.08100.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxsep.models._depthwise import depthwise
from jaxsep.models._linear import Linear
from jaxsep.models._options import check_choice, check_positive
from jaxsep.models.activations import get_activation
from jaxsep.models.initializers import uniform_fan_in
from jaxsep.models.norms import ChannelLayerNorm
from jaxsep.models.relative_attention import (
  RelativeAttention,
  drop,
  learnt_positions,
  sinusoidal_positions,
)
from jaxsep.typing import Array, Bool, Float

__all__ = [
  "ConformerLayer",
  "ConvModule",
  "FeedForward",
  "RelativeAttention",
  "learnt_positions",
  "sinusoidal_positions",
]

_EPS = 1e-5
_NORMS = ("layer", "batch")
_GLU = (None, "standard", "multiplier")


class FeedForward(nn.Module):
  """Linear, activation, linear.

  Attributes:
    hidden_size: Features between the two.
    activation: `"swish"`, `"relu"` or another name of an activation.
    dropout: Share of the hidden features and outputs dropped in training.
    dtype: Type of the factors in matmuls.
  """

  hidden_size: int = 1024
  activation: str = "swish"
  dropout: float = 0.0
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self, x: Float[Array, "batch frames features"], *, train: bool = False
  ) -> Float[Array, "batch frames features"]:
    """Maps every frame by itself."""
    y = Linear(self.hidden_size, dtype=self.dtype, name="hidden")(x)
    y = drop(self, get_activation(self.activation)(y), train)
    y = Linear(x.shape[-1], dtype=self.dtype, name="out")(y)
    return drop(self, y, train)


class ConvModule(nn.Module):
  """Pointwise, depthwise and pointwise convolution along time.

  Attributes:
    channels: Channels C of the depthwise convolution's output.
    kernel_size: Frames that it sees, odd.
    glu: `None` for D -> C pointwise and C -> C depthwise; `"standard"` for D ->
      2 C, a gated linear unit to C, C -> C; `"multiplier"` for D -> C, a gated
      linear unit to C / 2, and two filters for each of these.
    norm: After the depthwise convolution, `"batch"` or `"layer"`.
    se_reduction: D over the width of the squeeze-and-excitation at the end:
      what scales the features by their means over time; None leaves it out.
    activation: After the norm, `"swish"` or another name of an activation.
    dropout: Share of the outputs dropped in training.
    dtype: Type of the factors in matmuls.

  References:
    Gulati et al., 2020, section 2.2; Hu, Shen and Sun, Squeeze-and-excitation
    networks, 2018, eq. (2) and (3).
  """

  channels: int = 256
  kernel_size: int = 33
  glu: str | None = "standard"
  norm: str = "batch"
  se_reduction: int | None = None
  activation: str = "swish"
  dropout: float = 0.0
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "batch frames features"],
    valid: Bool[Array, "batch frames"] | None = None,
    *,
    train: bool = False,
  ) -> Float[Array, "batch frames features"]:
    """Convolves; with `train`, a batch norm uses the valid frames' statistics.

    Args:
      x: Sequences, shape `[B, N, D]`.
      valid: Which frames are not padding, shape `[B, N]`; None is all.
      train: Whether dropout acts and batch norms use and update statistics.
    """
    self._check()
    mask = None if valid is None else jnp.asarray(valid)[..., None]
    wide = self.channels * (2 if self.glu == "standard" else 1)
    y = Linear(wide, dtype=self.dtype, name="expand")(x)
    if self.glu is not None:
      y, gates = jnp.split(y, 2, axis=-1)
      y = y * jax.nn.sigmoid(gates)
    if self.glu == "multiplier":
      y = jnp.repeat(y, 2, axis=-1)
    if mask is not None:
      y = jnp.where(mask, y, 0.0)
    init = uniform_fan_in(self.kernel_size)
    kernel = self.param("kernel", init, (self.kernel_size, self.channels))
    bias = self.param("bias", init, (self.channels,))
    y = depthwise(y.astype(self.dtype), kernel) + bias[None, None]
    if self.norm == "batch":
      y = nn.BatchNorm(
        use_running_average=not train,
        momentum=0.9,
        epsilon=_EPS,
        use_fast_variance=False,
        name="norm",
      )(y, mask=mask)
    else:
      y = ChannelLayerNorm(_EPS, name="norm")(y)
    y = get_activation(self.activation)(y)
    y = Linear(x.shape[-1], dtype=self.dtype, name="out")(y)
    if self.se_reduction is not None:
      y = y * self._gate(y, mask)
    return drop(self, y, train)

  def _gate(self, y, mask):
    """Squeeze and excitation: one factor per example and feature."""
    features = y.shape[-1]
    count = y.shape[1]
    if mask is not None:
      y = jnp.where(mask, y, 0.0)
      # An example may have no frames at all.
      count = jnp.maximum(jnp.sum(mask, axis=1, keepdims=True), 1)
    mean = jnp.sum(y, axis=1, keepdims=True) / count
    width = max(1, features // (self.se_reduction or 1))
    gate = jax.nn.relu(Linear(width, name="squeeze")(mean))
    return jax.nn.sigmoid(Linear(features, name="excite")(gate))

  def _check(self):
    check_positive(channels=self.channels, kernel_size=self.kernel_size)
    check_choice("glu", self.glu, _GLU)
    check_choice("norm", self.norm, _NORMS)
    if self.kernel_size % 2 == 0:
      raise ValueError(f"kernel_size must be odd, not {self.kernel_size}.")
    if self.glu == "multiplier" and self.channels % 2:
      raise ValueError(f"channels must be even, not {self.channels}.")


class ConformerLayer(nn.Module):
  """One layer, each of its parts after a layer norm and added to its input.

  In order: half of a feed-forward part (`macaron` only), attention, convolution
  and the other half, or a whole one without `macaron`.

  Attributes:
    num_heads: See `RelativeAttention`; so are `positions` and `use_bias`.
    feedforward_size: Hidden features of a feed-forward part.
    kernel_size: See `ConvModule`; None leaves the convolution out, which is a
      layer of a Transformer without `macaron`.
    conv_channels: See `ConvModule.channels`.
    glu: See `ConvModule`; so are `norm` and `se_reduction`.
    activation: Of the feed-forward parts and the convolution.
    macaron: Whether there are two feed-forward parts, each of half weight.
    final_norm: Whether a layer norm follows at the end.
    dropout: Share dropped in training, within and after each part.
    dtype: Type of the factors in matmuls.
  """

  num_heads: int = 4
  feedforward_size: int = 1024
  kernel_size: int | None = 33
  conv_channels: int = 256
  glu: str | None = "standard"
  norm: str = "batch"
  se_reduction: int | None = None
  positions: str | None = "learnt"
  use_bias: bool = True
  activation: str = "swish"
  macaron: bool = True
  final_norm: bool = False
  dropout: float = 0.0
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "batch frames features"],
    valid: Bool[Array, "batch frames"] | None = None,
    *,
    positions: Float[Array, "offsets _"] | None = None,
    train: bool = False,
  ) -> Float[Array, "batch frames features"]:
    """Runs the layer; see `RelativeAttention` and `ConvModule` for the rest."""
    if self.macaron:
      x = x + 0.5 * self._feedforward("feedforward_first", x, train)
    attention = RelativeAttention(
      self.num_heads,
      self.positions,
      self.use_bias,
      self.dropout,
      self.dtype,
      name="attention",
    )
    x = x + attention(
      ChannelLayerNorm(_EPS, name="attention_norm")(x),
      valid,
      positions=positions,
      train=train,
    )
    if self.kernel_size is not None:
      conv = ConvModule(
        self.conv_channels,
        self.kernel_size,
        self.glu,
        self.norm,
        self.se_reduction,
        self.activation,
        self.dropout,
        self.dtype,
        name="conv",
      )
      y = ChannelLayerNorm(_EPS, name="conv_norm")(x)
      x = x + conv(y, valid, train=train)
    factor = 0.5 if self.macaron else 1.0
    x = x + factor * self._feedforward("feedforward", x, train)
    if self.final_norm:
      x = ChannelLayerNorm(_EPS, name="norm")(x)
    return x

  def _feedforward(self, name, x, train):
    y = ChannelLayerNorm(_EPS, name=f"{name}_norm")(x)
    return FeedForward(
      self.feedforward_size,
      self.activation,
      self.dropout,
      self.dtype,
      name=name,
    )(y, train=train)
