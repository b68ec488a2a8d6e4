"""Conformer layers, shared by separators and recognisers.

Maps `[[B]atch, [N]frames, [D]features]` to the same shape. Frames that are not
`valid` are padding and influence no other frame: not through attention, not
through the convolution, not through a mean over time, and not through the
statistics of a batch norm. What comes out for them means nothing.

References:
  Gulati et al., Conformer: convolution-augmented transformer for speech
  recognition, 2020, arXiv 2005.08100.
"""

import math

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
from jaxsep.typing import Array, Bool, Float

_EPS = 1e-5
_MAKE_NORM = {"layer", "batch"}
_POSITIONS = (None, "learnt", "sinusoidal")
_GLU = (None, "standard", "multiplier")


def learnt_positions(
  table: Float[Array, "distances key_size"], num_frames: int
) -> Float[Array, "offsets key_size"]:
  """Rows of a table of relative positions for all offsets of a sequence.

  Args:
    table: One row per offset of the key from the query, from -R to R frames,
      shape `[2 R + 1, K]`; longer offsets share the rows at its ends.
    num_frames: Frames N of the sequence.

  Returns:
    Rows of the offsets from -N to N - 1, shape `[2 N, K]`.
  """
  radius = len(table) // 2
  offsets = jnp.arange(-num_frames, num_frames)
  return jnp.asarray(table)[jnp.clip(offsets, -radius, radius) + radius]


def sinusoidal_positions(
  num_frames: int, size: int
) -> Float[Array, "offsets {size}"]:
  """Sines and cosines of all offsets of a sequence, in turns.

  As SpeechBrain's, the sines are those of the distance, without its sign.

  Args:
    num_frames: Frames N of the sequence.
    size: Features D, even.

  Returns:
    Encodings of the offsets from -N to N - 1, shape `[2 N, D]`.
  """
  distance = jnp.abs(jnp.arange(-num_frames, num_frames, dtype=jnp.float32))
  rates = jnp.exp(jnp.arange(0, size, 2) * (-math.log(10_000) / size))
  angles = distance[:, None] * rates[None]
  waves = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
  return waves.reshape(2 * num_frames, size)


class RelativeAttention(nn.Module):
  """Multi-head self-attention that sees how far two frames are apart.

  Attributes:
    num_heads: Heads H of `K = D / H` features each.
    positions: `"learnt"` adds the product of the query with a learnt row for
      the offset (Shaw et al.; the rows are shared by all heads), `"sinusoidal"`
      that with a linear map of sines and cosines, and a bias of each (Dai et
      al.), `None` neither.
    use_bias: Whether queries, keys and values have a bias.
    dropout: Share of the attention weights and outputs dropped in training.
    dtype: Type of the factors in matmuls; sums and softmax are float32.

  References:
    Shaw, Uszkoreit and Vaswani, Self-attention with relative position
    representations, 2018, eq. (2) and (4), without the values' term; Dai et
    al., Transformer-XL, 2019, section 3.3.
  """

  num_heads: int = 4
  positions: str | None = "learnt"
  use_bias: bool = True
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
    """Attends to all valid frames.

    Args:
      x: Sequences, shape `[B, N, D]`.
      valid: Which frames are not padding, shape `[B, N]`; None is all.
      positions: Rows of the offsets from -N to N - 1: `learnt_positions`, `[2
        N, K]`, or `sinusoidal_positions`, `[2 N, D]`. None without positions.
      train: Whether dropout acts.
    """
    size, heads = x.shape[-1], self.num_heads
    if size % heads:
      raise ValueError(
        f"num_heads must divide the {size} features, not {heads}."
      )
    check_choice("positions", self.positions, _POSITIONS)
    joint = Linear(
      3 * size,
      self.use_bias,
      self.dtype,
      zero_bias=True,
      kernel_init=nn.initializers.variance_scaling(0.5, "fan_avg", "uniform"),
      name="query_key_value",
    )(x)
    shape = (*x.shape[:2], 3, heads, size // heads)
    query, key, value = jnp.moveaxis(joint.reshape(shape), (2, 3), (0, 2))
    query = query / math.sqrt(size // heads)
    relative = None
    if self.positions is not None:
      if positions is None or len(positions) != 2 * x.shape[1]:
        raise ValueError(
          f"positions of the {2 * x.shape[1]} offsets of {x.shape[1]} frames"
          f" are missing: give {self.positions}_positions(...)."
        )
      query, shifted, rows = self._relative(query, positions)
      relative = _skewed(_product("bhnk,hmk->bhnm", shifted, rows, self.dtype))
    scores = _product("bhnk,bhmk->bhnm", query, key, self.dtype)
    if relative is not None:
      scores = scores + relative
    if valid is not None:
      # Not minus infinity: an example may have no frames at all.
      scores = jnp.where(valid[:, None, None], scores, -1e30)
    weights = jax.nn.softmax(scores, axis=-1)
    weights = _drop(self, weights, train)
    mixed = _product("bhnm,bhmk->bhnk", weights, value, self.dtype)
    mixed = jnp.swapaxes(mixed, 1, 2).reshape(x.shape)
    mixed = Linear(size, dtype=self.dtype, zero_bias=True, name="out")(mixed)
    return _drop(self, mixed, train)

  def _relative(self, query, positions):
    """Queries of content and of position, and the keys `[H, 2 N, K]`."""
    _, heads, _, width = query.shape
    if self.positions == "learnt":
      if positions.shape[1] != width:
        raise ValueError(
          f"learnt positions must have the {width} features of a head, not"
          f" {positions.shape[1]}."
        )
      rows = jnp.broadcast_to(positions[None], (heads, *positions.shape))
      return query, query, rows
    rows = Linear(heads * width, False, self.dtype, name="position")(positions)
    rows = jnp.swapaxes(rows.reshape(len(positions), heads, width), 0, 1)
    init = nn.initializers.glorot_uniform()
    content = self.param("content_bias", init, (heads, width))
    position = self.param("position_bias", init, (heads, width))
    scale = 1 / math.sqrt(width)
    return (
      query + scale * content[None, :, None],
      query + scale * position[None, :, None],
      rows,
    )


def _skewed(scores):
  """Scores by query and key `[B, H, N, N]` of those by offset `[..., 2 N]`.

  Row n begins with the offset -N, and its key 0 has the offset -n: in the
  flattened rows, each start is one place earlier than in the row before.
  """
  *shape, frames, offsets = scores.shape
  flat = scores.reshape(*shape, frames * offsets)
  flat = flat[..., frames : frames + frames * (offsets - 1)]
  return flat.reshape(*shape, frames, offsets - 1)[..., :frames]


def _product(formula, x, y, dtype):
  return jnp.einsum(
    formula,
    x.astype(dtype),
    y.astype(dtype),
    preferred_element_type=jnp.float32,
  )


def _drop(module, x, train):
  """Dropout at the rate of a module."""
  if not (train and module.dropout):
    return x
  return nn.Dropout(module.dropout)(x, deterministic=False)


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
    y = _drop(self, get_activation(self.activation)(y), train)
    y = Linear(x.shape[-1], dtype=self.dtype, name="out")(y)
    return _drop(self, y, train)


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
    valid = None if valid is None else valid[..., None]
    wide = self.channels * (2 if self.glu == "standard" else 1)
    y = Linear(wide, dtype=self.dtype, name="expand")(x)
    if self.glu is not None:
      y, gates = jnp.split(y, 2, axis=-1)
      y = y * jax.nn.sigmoid(gates)
    if self.glu == "multiplier":
      y = jnp.repeat(y, 2, axis=-1)
    if valid is not None:
      y = jnp.where(valid, y, 0.0)
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
      )(y, mask=valid)
    else:
      y = ChannelLayerNorm(_EPS, name="norm")(y)
    y = get_activation(self.activation)(y)
    y = Linear(x.shape[-1], dtype=self.dtype, name="out")(y)
    if self.se_reduction is not None:
      y = y * self._gate(y, valid)
    return _drop(self, y, train)

  def _gate(self, y, valid):
    """Squeeze and excitation: one factor per example and feature."""
    features = y.shape[-1]
    count = y.shape[1]
    if valid is not None:
      y = jnp.where(valid, y, 0.0)
      # An example may have no frames at all.
      count = jnp.maximum(jnp.sum(valid, axis=1, keepdims=True), 1)
    mean = jnp.sum(y, axis=1, keepdims=True) / count
    width = max(1, features // (self.se_reduction or 1))
    gate = jax.nn.relu(Linear(width, name="squeeze")(mean))
    return jax.nn.sigmoid(Linear(features, name="excite")(gate))

  def _check(self):
    check_positive(channels=self.channels, kernel_size=self.kernel_size)
    check_choice("glu", self.glu, _GLU)
    check_choice("norm", self.norm, _MAKE_NORM)
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
