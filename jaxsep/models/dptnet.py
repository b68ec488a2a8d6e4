"""DPTNet: dual-path transformers whose feed-forward layers are recurrent."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxsep.models._improved_transformer import ImprovedTransformer
from jaxsep.models._linear import Linear
from jaxsep.models._options import (
  check_choice,
  check_floating,
  check_mixture,
  check_positive,
)
from jaxsep.models.activations import get_activation
from jaxsep.models.coders import Decoder, Encoder, num_frames, zero_padding
from jaxsep.models.dual_path import (
  DualPathBlock,
  num_chunks,
  overlap_add,
  segment,
)
from jaxsep.models.norms import ChannelLayerNorm, GlobalLayerNorm
from jaxsep.typing import Array, Float, Int

_INPUT_NORMS = {
  "layer": GlobalLayerNorm,
  "global": GlobalLayerNorm,
  "channel": ChannelLayerNorm,
}


class DPTNet(nn.Module):
  """Separates a waveform by masks from transformers on two time scales.

  Maps `[[B]atch, [T]ime]` to `[[B]atch, [S]ources, [T]ime]`, for any length
  from one sample on. The defaults are the authors' model with 2,822,657
  parameters; in PyTorch it has 2,834,945, as each direction of an LSTM has a
  second bias there. Filters of two samples make one frame of each sample;
  longer ones, such as 16 samples, make far fewer frames and less work.

  Attributes:
    num_sources: Speakers to separate.
    num_filters: Filters of the encoder and decoder.
    filter_length: Samples of a filter, even; the hop is half of it.
    feature_size: Features of a frame between the layers; a multiple of
      `num_heads`.
    chunk_length: Frames of a chunk, even; chunks overlap by half.
    num_blocks: Dual-path blocks, of two transformer layers each.
    num_heads: Heads of the attention.
    hidden_size: Width of an LSTM in one direction.
    inter_bidirectional: Whether the LSTMs across the chunks run both ways;
      those within always do.
    norm: Of the layers: `"layer"` normalises each frame with an eps of 1e-5,
      as the authors' code; `"channel"` the same with 1e-8, also the input;
      `"global"` whole sequences, as Asteroid.
    dropout: Share of attention weights and features to drop in training, which
      then needs a `"dropout"` key.
    project_features: Whether linear layers without bias lead from the filters
      to the features and back to the masks; else both have the same size, as
      in Asteroid.
    chunk_padding: `"hop"` as in the authors' code, or `"chunk"` as in
      Asteroid; see `dual_path.segment`.
    divide_overlap: Whether overlapping chunks are averaged, as in Asteroid,
      and not summed.
    padding: Of the waveform, see `Encoder`: `"none"` loses no sample if filters
      have two; use `"both"` if they are longer.
    mask_activation: `"relu"` or another name of an activation.
    encoder_activation: `"relu"` or another name of an activation.
    filterbank_init: See `Encoder`.
    dtype: Type of the matmuls between encoder and decoder. All sums,
      statistics and parameters stay float32.
    remat: Whether training keeps only the inputs of the layers and computes the
      rest again: less memory for more time.

  References:
    Chen, Mao and Liu, Dual-path transformer network: direct context-aware
    modeling for end-to-end monaural speech separation, 2020.

  Example:
    >>> model = DPTNet(filter_length=16, chunk_length=20, num_blocks=1)
    >>> mixture = jnp.zeros((1, 800))
    >>> variables = jax.jit(model.init)(jax.random.key(0), mixture)
    >>> jax.jit(model.apply)(variables, mixture).shape
    (1, 2, 800)
  """

  num_sources: int = 2
  num_filters: int = 256
  filter_length: int = 2
  feature_size: int = 64
  chunk_length: int = 250
  num_blocks: int = 6
  num_heads: int = 4
  hidden_size: int = 128
  inter_bidirectional: bool = True
  norm: str = "layer"
  dropout: float = 0.0
  project_features: bool = True
  chunk_padding: str = "hop"
  divide_overlap: bool = False
  padding: str = "none"
  mask_activation: str | None = "relu"
  encoder_activation: str | None = "relu"
  filterbank_init: str = "uniform"
  dtype: DTypeLike = jnp.float32
  remat: bool = False

  @property
  def hop_length(self) -> int:
    """Samples from one frame to the next."""
    return self.filter_length // 2

  @nn.nowrap
  def example_inputs(self) -> dict[str, jax.Array]:
    """Small arguments for `init`."""
    return {"mixture": jnp.zeros((1, 4 * self.filter_length))}

  @nn.compact
  def __call__(
    self,
    mixture: Float[Array, "batch time"],
    *,
    length: Int[Array, "batch"] | None = None,
    train: bool = False,
  ) -> Float[Array, "batch {self.num_sources} time"]:
    """Separates the mixtures.

    Args:
      mixture: Mixtures, shape `[B, T]`.
      length: See `ConvTasNet.__call__`.
      train: Whether dropout acts.

    Returns:
      Estimates, shape `[B, S, T]`.

    Raises:
      ValueError: If the mixture is empty or has other axes, or if an option
        is impossible.
    """
    check_mixture(mixture)
    self._check()
    features = Encoder(
      self.num_filters,
      self.filter_length,
      self.encoder_activation,
      self.filterbank_init,
      self.padding,
      name="encoder",
    )(mixture, length)
    frames = None
    if length is not None:
      frames = num_frames(
        length, filter_length=self.filter_length, padding=self.padding
      )
    y = _INPUT_NORMS[self.norm](name="input_norm")(features, frames)
    if self.project_features:
      y = Linear(self.feature_size, False, self.dtype, name="bottleneck")(y)
    valid_chunks = None
    if frames is not None:
      y = zero_padding(y, frames, axis=-2)
      valid_chunks = num_chunks(
        frames, chunk_length=self.chunk_length, padding=self.chunk_padding
      )
    chunks = segment(
      y, chunk_length=self.chunk_length, padding=self.chunk_padding
    )
    for index in range(self.num_blocks):
      chunks = self._block(index, train)(chunks, valid_chunks)
    masks = self._masks(chunks, features.shape[1])
    decode = Decoder(
      self.filter_length,
      self.filterbank_init,
      self.padding,
      # The authors synthesise by a linear layer.
      fan_in=self.num_filters,
      name="decoder",
    )
    return decode(
      masks * features[:, None], length=mixture.shape[1], num_samples=length
    )

  @nn.nowrap
  def _block(self, index, train):
    def make(bidirectional):
      return ImprovedTransformer(
        num_heads=self.num_heads,
        hidden_size=self.hidden_size,
        bidirectional=bidirectional,
        norm=self.norm,
        dropout=self.dropout if train else 0.0,
        dtype=self.dtype,
        remat=self.remat,
        parent=None,
      )

    return DualPathBlock(
      make(True), make(self.inter_bidirectional), name=f"block_{index}"
    )

  def _masks(self, chunks, frames):
    """Masks `[B, S, N, F]` from the last chunks."""
    slope = self.param("slope", nn.initializers.constant(0.25), ())
    chunks = jnp.where(chunks >= 0, chunks, slope * chunks)
    features = self.num_sources * self.feature_size
    y = Linear(features, dtype=self.dtype, name="sources")(chunks)
    y = overlap_add(
      y, length=frames, padding=self.chunk_padding, divide=self.divide_overlap
    )
    y = y.reshape(*y.shape[:2], self.num_sources, self.feature_size)
    # Both heads in one matmul: first the values, then their gates.
    y = jnp.moveaxis(y, 2, 1)
    y = Linear(2 * self.feature_size, dtype=self.dtype, name="gated")(y)
    values, gates = jnp.split(y, 2, axis=-1)
    y = jnp.tanh(values) * jax.nn.sigmoid(gates)
    if self.project_features:
      y = Linear(self.num_filters, False, self.dtype, name="mask")(y)
    return get_activation(self.mask_activation, masks=True)(y)

  @nn.nowrap
  def _check(self):
    check_floating(self.dtype)
    check_positive(
      num_sources=self.num_sources,
      feature_size=self.feature_size,
      num_blocks=self.num_blocks,
      num_heads=self.num_heads,
    )
    check_choice("norm", self.norm, _INPUT_NORMS)
    if not 0 <= self.dropout < 1:
      raise ValueError(f"dropout must be in [0, 1), not {self.dropout}.")
    if not self.project_features and self.feature_size != self.num_filters:
      raise ValueError(
        f"without project_features, feature_size ({self.feature_size}) must "
        f"be num_filters ({self.num_filters})."
      )
