"""The temporal convolutional network that estimates masks."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxsep.models import norms
from jaxsep.models._conv_block import BlockOptions, conv_block
from jaxsep.models._linear import Linear
from jaxsep.models._options import check_choice, check_floating, check_positive
from jaxsep.models._streaming import FrameState, FrameStream
from jaxsep.models.activations import get_activation
from jaxsep.models.initializers import uniform_fan_in
from jaxsep.typing import Array, Bool, Float, Int

_SLOPE = nn.initializers.constant(0.25)


class _Parameters(nn.Module):
  """Holds the parameters of a convolution and of what follows it."""

  shape: tuple[int, int]
  activated: bool
  use_bias: bool = True

  @nn.compact
  def __call__(self):
    fan_in, features = self.shape
    init = uniform_fan_in(fan_in)
    values = {"kernel": self.param("kernel", init, self.shape)}
    if self.use_bias:
      values["bias"] = self.param("bias", init, (features,))
    else:
      values["bias"] = jnp.zeros((features,))
    if self.activated:
      ones, zeros = nn.initializers.ones, nn.initializers.zeros
      values["slope"] = self.param("slope", _SLOPE, ())
      values["norm_scale"] = self.param("norm_scale", ones, (features,))
      values["norm_bias"] = self.param("norm_bias", zeros, (features,))
    return values


class ConvBlock(nn.Module):
  """A dilated depthwise-separable convolution that adds to two sums.

  Maps `[[B]atch, [N]frames, [C]hannels]` to the same shape. The last
  `skip_channels` are the sum of skips, which a block adds to but does not
  read; the others are its input, to which it adds the residual. With
  `skip_only`, only the sum of skips is returned, as the last block of a network
  needs no residual; the parameters stay the same.
  """

  hidden_channels: int
  skip_channels: int
  kernel_size: int
  options: BlockOptions
  use_bias: bool = True
  dtype: DTypeLike = jnp.float32
  skip_only: bool = False

  @nn.compact
  def __call__(
    self,
    sums: Float[Array, "batch frames channels"],
    num_frames: Int[Array, "batch"] | None = None,
    stream: FrameStream | None = None,
  ) -> Float[Array, "batch frames _"]:
    """Adds the heads of the block; to the next frames of a stream if given."""
    hidden, num_heads = self.hidden_channels, sums.shape[-1]
    channels = num_heads - self.skip_channels
    layers = {
      "expand": ((channels, hidden), True),
      "depthwise": ((self.kernel_size, hidden), True),
      # One matmul for both heads: residual first, then skip.
      "heads": ((hidden, num_heads), False),
    }
    params = {
      name: _Parameters(shape, activated, self.use_bias, name=name)()
      for name, (shape, activated) in layers.items()
    }
    x = sums[..., :channels].astype(self.dtype)
    if self.skip_only:
      params["heads"] = {
        name: value[..., channels:] for name, value in params["heads"].items()
      }
      sums = sums[..., channels:]
    change: Any = conv_block(params, x, self.options, num_frames, stream)
    return sums + change


class TemporalConvNet(nn.Module):
  """Estimates one mask per source from a sequence of feature frames.

  Maps `[[B]atch, [N]frames, [F]eatures]` to masks
  `[[B]atch, [S]ources, [N]frames, [F]eatures]`. The features may be those of a
  learned encoder or a spectrogram.

  It is the field `masker` of `ConvTasNet` and `SpectrogramTasNet`.

  Attributes:
    bottleneck_channels: Channels between the blocks.
    hidden_channels: Channels of the depthwise convolutions.
    skip_channels: Channels that the blocks add up for the masks; 0 for masks
      from the channels between the blocks, without skips.
    kernel_size: Taps of the depthwise convolutions; odd unless causal.
    num_blocks: Blocks of a repeat, with dilations 1, 2, 4 and so on.
    num_repeats: Times that the dilation starts over.
    causal: Whether the convolutions see only the past. The norms are then
      cumulative, unless `norm` says otherwise.
    mask_activation: `"sigmoid"` as in the paper, `"relu"`, with which others
      report slightly better figures, `"softmax"` over the sources, or `"tanh"`
      or `None`.
    dtype: Type of the matmuls and of the hidden maps. Parameters, statistics,
      the sums over the blocks and the masks are float32 in any case.
    remat: Whether training keeps only the input of each block, and computes
      the output of its first matmul again: less memory for more time.
    norm: `"global"`, `"cumulative"`, `"channel"` for each frame by itself, or
      `None` for cumulative if causal, else global. With a global norm, a frame
      depends on the future even if the convolutions are causal.
    input_norm: Norm of the features; `None` for that of the blocks.
    conv_padding: What the depthwise convolutions see beyond the ends:
      `"zeros"` or, as SpeechBrain's, the frames in `"reflect"`ion, or `"late"`,
      causal with taps that lie half a kernel further in the past.
    use_bias: Whether the convolutions have biases.

  References:
    Luo and Mesgarani, Conv-TasNet, 2019, section II-C.
  """

  bottleneck_channels: int = 128
  hidden_channels: int = 512
  skip_channels: int = 128
  kernel_size: int = 3
  num_blocks: int = 8
  num_repeats: int = 3
  causal: bool = False
  mask_activation: str | None = "sigmoid"
  dtype: DTypeLike = jnp.float32
  remat: bool = False
  norm: str | None = None
  input_norm: str | None = None
  conv_padding: str = "zeros"
  use_bias: bool = True

  @property
  def receptive_field(self) -> int:
    """Frames that one frame of the masks depends on, norms aside."""
    reach = (self.kernel_size - 1) * (2**self.num_blocks - 1)
    return 1 + self.num_repeats * reach

  @property
  def is_causal(self) -> bool:
    """Whether nothing depends on the future, the norms included."""
    return self.causal and "global" not in self._norms

  @property
  def _norms(self):
    """Names of the norms of the features and of the blocks."""
    blocks = self.norm or ("cumulative" if self.causal else "global")
    return self.input_norm or blocks, blocks

  def __call__(
    self,
    features: Float[Array, "batch frames features"],
    *,
    num_sources: int = 2,
    num_frames: Int[Array, "batch"] | None = None,
  ) -> Float[Array, "batch {num_sources} frames features"]:
    """Estimates the masks.

    Args:
      features: Features, shape `[B, N, F]`.
      num_sources: Masks per frame, S.
      num_frames: Frames of each example that are not padding, shape `[B]`; None
        for all. Padding changes nothing, and its masks mean nothing.

    Returns:
      Masks, shape `[B, S, N, F]`.
    """
    # If no frame sees a later one, none sees padding.
    return self._masks(
      features, num_sources, None if self.is_causal else num_frames
    )

  def stream_init(self, batch: int) -> FrameState:
    """The state of `batch` sequences before their first frame."""
    is_cumulative = [name == "cumulative" for name in self._norms]
    num_blocks = self.num_repeats * self.num_blocks
    reach = [
      (self.kernel_size - 1) * 2**index for index in range(self.num_blocks)
    ]
    if self.conv_padding == "late":
      reach = [frames + frames // 2 for frames in reach]
    return FrameState.zeros(
      batch,
      num_norms=is_cumulative[0] + 2 * num_blocks * is_cumulative[1],
      contexts=[
        (frames, self.num_repeats, self.hidden_channels) for frames in reach
      ],
      dtype=self.dtype,
    )

  def stream_step(
    self,
    state: FrameState,
    features: Float[Array, "batch frames features"],
    valid: Bool[Array, "batch frames"] | None = None,
    *,
    num_sources: int = 2,
  ) -> tuple[FrameState, Float[Array, "batch {num_sources} frames features"]]:
    """Estimates the masks of the next frames of causal features.

    Args:
      state: What came before.
      features: The next frames.
      valid: Which of them count; the others change nothing but the time. None
        for all.
      num_sources: Masks per frame.

    Returns:
      The state after them, and their masks.
    """
    stream = FrameStream(state, features.shape[1], valid)
    masks = self._masks(features, num_sources, None, stream)
    return stream.state(), masks

  @nn.compact
  def _masks(self, features, num_sources, num_frames, stream=None):
    self._check(num_sources)
    num_features = features.shape[-1]
    input_norm, norm = self._norms
    statistics = None
    if stream is not None and input_norm == "cumulative":
      statistics = stream.cumulative_statistics
    y = norms.NORMS[input_norm](name="norm")(features, num_frames, statistics)
    y = Linear(
      self.bottleneck_channels, self.use_bias, self.dtype, name="bottleneck"
    )(y)
    # Residual and skip side by side, as the heads of the blocks are: with two
    # sums, XLA would keep all skips until the end.
    sums = jnp.pad(y, ((0, 0), (0, 0), (0, self.skip_channels)))
    num_blocks = self.num_repeats * self.num_blocks
    for index in range(num_blocks):
      sums = ConvBlock(
        self.hidden_channels,
        self.skip_channels,
        self.kernel_size,
        BlockOptions(
          dilation=2 ** (index % self.num_blocks),
          causal=self.causal,
          keep_hidden=not self.remat,
          norm=norm,
          padding=self.conv_padding,
        ),
        self.use_bias,
        self.dtype,
        skip_only=index == num_blocks - 1 and self.skip_channels > 0,
        name=f"block_{index}",
      )(sums, num_frames, stream)
    slope = self.param("mask_slope", _SLOPE, ())
    skips = jnp.where(sums >= 0, sums, slope * sums)
    masks = Linear(
      num_sources * num_features, self.use_bias, self.dtype, name="mask"
    )(skips)
    masks = masks.reshape(*y.shape[:2], num_sources, num_features)
    return get_activation(self.mask_activation, masks=True)(
      jnp.moveaxis(masks, 2, 1)
    )

  def _check(self, num_sources):
    check_floating(self.dtype)
    for name in self._norms:
      check_choice("norm", name, norms.NORMS)
    check_positive(
      num_sources=num_sources,
      bottleneck_channels=self.bottleneck_channels,
      hidden_channels=self.hidden_channels,
      kernel_size=self.kernel_size,
      num_blocks=self.num_blocks,
      num_repeats=self.num_repeats,
    )
    if self.skip_channels < 0:
      raise ValueError(
        f"skip_channels must be at least 0, not {self.skip_channels}."
      )
    paddings = {"zeros", "late" if self.causal else "reflect"}
    if self.conv_padding not in paddings:
      raise ValueError(
        f"conv_padding is one of {sorted(paddings)} where causal is "
        f"{self.causal}, not {self.conv_padding!r}."
      )
    if not self.causal and self.kernel_size % 2 == 0:
      raise ValueError(
        f"kernel_size must be odd, not {self.kernel_size}, unless the network "
        "is causal: an even kernel has no centre."
      )
