"""Masks on a spectrogram, estimated by a Conformer or a Transformer."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxsep.models._linear import Linear
from jaxsep.models._masked_spectrum import MaskedSpectrum
from jaxsep.models._options import check_floating, check_positive
from jaxsep.models.activations import get_activation
from jaxsep.models.conformer import ConformerLayer
from jaxsep.models.norms import ChannelLayerNorm
from jaxsep.models.relative_attention import learnt_positions
from jaxsep.typing import Array, Complex, Float, Int

_EPS = 1e-5


class _Stack(MaskedSpectrum):
  """Input layer, equal layers with shared learnt positions, output layer."""

  num_layers: int = 16
  size: int = 256
  num_heads: int = 4
  feedforward_size: int = 1024
  max_distance: int = 1024
  dropout: float = 0.0
  dtype: DTypeLike = jnp.float32

  def hidden(
    self,
    mixture: Float[Array, "batch time"],
    *,
    length: Int[Array, "batch"] | None = None,
    train: bool = False,
  ) -> tuple[
    Float[Array, "batch {self.num_sources} frames bins"],
    Complex[Array, "batch frames bins"],
    Float[Array, "{self.num_layers} batch frames {self.size}"],
  ]:
    """Masks, spectrum, and the outputs `[L, B, N, D]` of all layers."""
    return self._run(mixture, length, train)

  @nn.nowrap
  def _layer(self) -> ConformerLayer:
    raise NotImplementedError

  @nn.compact
  def _network(self, features, valid, train):
    check_floating(self.dtype)
    check_positive(
      num_layers=self.num_layers,
      size=self.size,
      num_heads=self.num_heads,
      max_distance=self.max_distance,
    )
    if not 0 <= self.dropout < 1:
      raise ValueError(f"dropout must be in [0, 1), not {self.dropout}.")
    frames, bins = features.shape[1:]
    # One table for all layers and heads.
    table = self.param(
      "positions",
      nn.initializers.normal(1.0),
      (2 * self.max_distance + 1, self.size // self.num_heads),
    )
    positions = learnt_positions(table, frames)
    x = Linear(self.size, dtype=self.dtype, name="input")(features)
    x = ChannelLayerNorm(_EPS, name="input_norm")(x)
    if self.dropout and train:
      x = nn.Dropout(self.dropout)(x, deterministic=False)
    x = get_activation("relu")(x)
    valid = None if valid is None else valid[..., 0]

    def step(layer, x):
      x = layer(x, valid, positions=positions, train=train)
      return x, x

    # One layer is compiled, and its parameters are stacked: sixteen in a row
    # take minutes to compile for a gradient.
    stack = nn.scan(
      step,
      variable_axes={"params": 0, "batch_stats": 0},
      split_rngs={"params": True, "dropout": True},
      length=self.num_layers,
    )
    x, hidden = stack(self._layer(), x)
    x = ChannelLayerNorm(_EPS, name="output_norm")(x)
    y = Linear(self.num_sources * bins, dtype=self.dtype, name="output")(x)
    y = y.reshape(*y.shape[:2], self.num_sources, bins)
    return jnp.moveaxis(y, 2, 1), hidden


class ConformerSeparator(_Stack):
  """Separates a waveform into sources by masks from a stack of Conformers.

  Maps `[[B]atch, [T]ime]` to `[[B]atch, [S]ources, [T]ime]`, for any length
  from one sample on. The network sees the logarithmic magnitudes of the
  mixture, normalised over the time of each example, and gives a mask between 0
  and 1 for each source. With the phase of the mixture, the masked spectra
  become waveforms again. A level change of the mixture changes the level of
  the estimates and, except for floors, nothing else.

  The defaults have 26,028,866 parameters, the 26.03 M of the paper; with
  `num_layers=6` there are 9,967,266. The paper prints neither the feed-forward
  pair nor the widths inside of the convolution: these are the ones that give
  its three sizes. Its equation (4) read literally, `macaron=False`, gives
  17,611,586 and 6,810,786.

  The masks of the lowest and the highest bin are those of their neighbours: a
  loss on mel features has no gradient there.

  The parameters of all layers are stacked, `layers`, with the layer as the
  first axis.

  Attributes:
    num_sources: Speakers to separate.
    stft: The short-time Fourier transform; `window="hamming"`, 25 ms every 10
      ms at 16 kHz by default.
    num_layers: Layers L.
    size: Features D between the layers, a multiple of `num_heads`.
    num_heads: Heads of the attention.
    feedforward_size: Hidden features of a feed-forward part.
    max_distance: Frames up to which relative positions have an embedding of
      their own; longer ones share the last.
    dropout: Share dropped in training, which then needs a `"dropout"` key; the
      paper drops none.
    dtype: Type of the factors in matmuls. Sums, statistics and parameters stay
      float32.
    kernel_size: Frames of a depthwise convolution, odd.
    conv_channels: Its output channels.
    glu_mode: `None`, `"standard"` or `"multiplier"`, see `ConvModule.glu`. The
      size of the model cannot tell the last from `None`.
    se_reduction: Features over the width of squeeze-and-excitation; None
      leaves it out.
    macaron: Whether a layer has two feed-forward parts of half weight, or one
      at its end.
    activation: `"swish"` or another name of an activation.

  References:
    Wu et al., Investigation of practical aspects of single channel speech
    separation for ASR, Interspeech 2021, arXiv 2107.01922, eq. (3) and (4);
    Gulati et al., Conformer, 2020.

  Example:
    >>> import jax
    >>> model = ConformerSeparator(
    ...   num_layers=1, size=16, feedforward_size=16, conv_channels=16
    ... )
    >>> mixture = jnp.zeros((1, 800))
    >>> variables = jax.jit(model.init)(jax.random.key(0), mixture)
    >>> model.apply(variables, mixture).shape
    (1, 2, 800)
    >>> masks, spectrum, hidden = model.apply(
    ...   variables, mixture, method="hidden"
    ... )
    >>> print(masks.shape, spectrum.shape, hidden.shape)
    (1, 2, 6, 257) (1, 6, 257) (1, 1, 6, 16)
  """

  kernel_size: int = 33
  conv_channels: int = 512
  glu_mode: str | None = None
  se_reduction: int | None = 16
  macaron: bool = True
  activation: str = "swish"

  @nn.nowrap
  def _layer(self):
    return ConformerLayer(
      num_heads=self.num_heads,
      feedforward_size=self.feedforward_size,
      kernel_size=self.kernel_size,
      conv_channels=self.conv_channels,
      glu=self.glu_mode,
      se_reduction=self.se_reduction,
      activation=self.activation,
      macaron=self.macaron,
      dropout=self.dropout,
      dtype=self.dtype,
      name="layers",
    )


class TransformerSeparator(_Stack):
  """Separates a waveform by masks from a stack of Transformer layers.

  As `ConformerSeparator`, without its convolutions and with one feed-forward
  part a layer: 12,966,466 parameters.

  Attributes:
    num_sources: Speakers to separate.
    stft: See `ConformerSeparator`; so are all attributes up to `dtype`.
    num_layers: Layers L.
    size: Features D between the layers.
    num_heads: Heads of the attention.
    feedforward_size: Hidden features of a feed-forward part.
    max_distance: Frames up to which relative positions are told apart.
    dropout: Share dropped in training.
    dtype: Type of the factors in matmuls.
    activation: `"relu"` or another name of an activation.

  References:
    Vaswani et al., Attention is all you need, 2017; the paper of
    `ConformerSeparator`, table 1.

  Example:
    >>> import jax
    >>> model = TransformerSeparator(num_layers=1, size=16)
    >>> mixture = jnp.zeros((1, 800))
    >>> variables = jax.jit(model.init)(jax.random.key(0), mixture)
    >>> model.apply(variables, mixture).shape
    (1, 2, 800)
  """

  activation: str = "relu"

  @nn.nowrap
  def _layer(self):
    return ConformerLayer(
      num_heads=self.num_heads,
      feedforward_size=self.feedforward_size,
      kernel_size=None,
      activation=self.activation,
      macaron=False,
      dropout=self.dropout,
      dtype=self.dtype,
      name="layers",
    )
