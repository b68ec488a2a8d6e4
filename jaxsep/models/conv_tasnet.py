"""Conv-TasNet: masks on a learned filterbank, all convolutional."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxsep.models._options import check_mixture
from jaxsep.models._streaming import FrameState
from jaxsep.models.coders import Decoder, Encoder, num_frames
from jaxsep.models.tcn import TemporalConvNet
from jaxsep.typing import Array, Float, Int


class ConvTasNetState(NamedTuple):
  """What `ConvTasNet` carries from one chunk of a stream to the next."""

  started: Array
  encoder: Array
  masker: FrameState
  decoder: Array


class ConvTasNet(nn.Module):
  """Separates a waveform into sources by masks on a learned filterbank.

  Maps `[[B]atch, [T]ime]` to `[[B]atch, [S]ources, [T]ime]`, for any length
  from one sample on. The defaults are the best model of the paper, with
  5,050,545 parameters; 65,664 of them belong to the last residual head, whose
  output nothing uses and which is not computed. A level change of the mixture
  changes the level of the estimates and, except for the noise floor of the
  norms, nothing else.

  Attributes:
    num_sources: Speakers to separate.
    num_filters: Filters of the encoder and decoder.
    filter_length: Samples of a filter, even; the hop is half of it.
    encoder_activation: `None` as in the paper's code, or `"relu"`.
    filterbank_init: `"uniform"` noise as in the paper's code, or
      `"fourier"`: encoder and decoder start as a short-time Fourier transform
      and its inverse, which with a rectified encoder learns several times
      faster at first.
    padding: Zeros at `"both"` ends of the mixture, or `"none"` as in Asteroid
      and SpeechBrain: an end that fills no hop is then silent.
    masker: The network that estimates the masks. With `causal=True` in it,
      estimates depend on the past only, except for the samples of one filter.
      Encoder and decoder are float32 whatever its `dtype` is: eight bits of a
      waveform are too few.

  References:
    Luo and Mesgarani, Conv-TasNet: surpassing ideal time-frequency magnitude
    masking for speech separation, 2019.

  Example:
    >>> import jax
    >>> masker = TemporalConvNet(num_blocks=2, num_repeats=1)
    >>> model = ConvTasNet(masker=masker)
    >>> mixture = jnp.zeros((1, 8000))
    >>> variables = jax.jit(model.init)(jax.random.key(0), mixture)
    >>> jax.jit(model.apply)(variables, mixture).shape
    (1, 2, 8000)
  """

  num_sources: int = 2
  num_filters: int = 512
  filter_length: int = 16
  encoder_activation: str | None = None
  filterbank_init: str = "uniform"
  padding: str = "both"
  masker: TemporalConvNet = TemporalConvNet()

  def setup(self):
    """Builds the filterbanks."""
    self.encoder = Encoder(
      self.num_filters,
      self.filter_length,
      self.encoder_activation,
      self.filterbank_init,
      self.padding,
    )
    self.decoder = Decoder(
      self.filter_length, self.filterbank_init, self.padding
    )

  @property
  def hop_length(self) -> int:
    """Samples from one frame to the next."""
    return self.filter_length // 2

  @property
  def receptive_field(self) -> int:
    """Samples that one frame of the masks depends on, norms aside."""
    frames = self.masker.receptive_field
    return (frames - 1) * self.hop_length + self.filter_length

  @property
  def is_causal(self) -> bool:
    """Whether estimates wait for no more than `stream_latency` samples."""
    return self.masker.is_causal

  @nn.nowrap
  def example_inputs(self) -> dict[str, jax.Array]:
    """Small arguments for `init`."""
    return {"mixture": jnp.zeros((1, 4 * self.filter_length))}

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
      length: Samples of each mixture; the rest is padding, which changes
        nothing and whose estimates are zero. None if there is none.
      train: Whether the model is trained; makes no difference here.

    Returns:
      Estimates, shape `[B, S, T]`.

    Raises:
      ValueError: If the mixture is empty or has other axes.
    """
    check_mixture(mixture)
    features = self.encoder(mixture, length)
    count = None
    if length is not None:
      count = num_frames(
        length, filter_length=self.filter_length, padding=self.padding
      )
    masks = self.masker(
      features, num_sources=self.num_sources, num_frames=count
    )
    return self.decoder(
      masks * features[:, None], length=mixture.shape[1], num_samples=length
    )

  @property
  def stream_latency(self) -> int:
    """Samples that estimates are behind the mixture in a stream."""
    return self.hop_length

  def stream_init(self, batch: int) -> ConvTasNetState:
    """The state before the first sample; see `jaxsep.inference.stream`."""
    return ConvTasNetState(
      started=jnp.zeros((batch,), bool),
      encoder=self.encoder.stream_init(batch),
      masker=self.masker.stream_init(batch),
      decoder=self.decoder.stream_init(batch, self.num_sources),
    )

  def stream_step(
    self, state: ConvTasNetState, mixture: Float[Array, "batch time"]
  ) -> tuple[ConvTasNetState, Float[Array, "batch {self.num_sources} time"]]:
    """Separates the next samples of the mixture, a whole number of hops.

    Returns the state after them, and the estimates delayed by `stream_latency`.
    """
    if len(mixture) != len(state.encoder):
      raise ValueError(
        f"the mixture {mixture.shape} must have the batch of the state,"
        f" {len(state.encoder)}."
      )
    encoder, features = self.encoder.stream_step(state.encoder, mixture)
    # The very first frame starts before the signal: only padding makes one.
    valid = jnp.ones(features.shape[:2], bool).at[:, 0].set(state.started)
    unpadded = self.padding == "none"
    masker, masks = self.masker.stream_step(
      state.masker,
      features,
      valid if unpadded else None,
      num_sources=self.num_sources,
    )
    masked = masks * features[:, None]
    if unpadded:
      masked = jnp.where(valid[:, None, :, None], masked, 0.0)
    decoder, estimates = self.decoder.stream_step(state.decoder, masked)
    begun = jnp.repeat(valid, self.hop_length, axis=1)
    state = ConvTasNetState(
      started=jnp.ones_like(state.started),
      encoder=encoder,
      masker=masker,
      decoder=decoder,
    )
    return state, jnp.where(begun[:, None], estimates, 0.0)

  def stream_finish(
    self,
    state: ConvTasNetState,
    rest: Float[Array, "batch rest"] | None = None,
  ) -> Float[Array, "batch {self.num_sources} _"]:
    """The last `stream_latency` estimates, and those of less than a hop.

    With `padding="none"` those of the rest are silent, unless all of the
    mixture is shorter than a filter.
    """
    hop, num_rest = self.hop_length, 0
    mixture = jnp.zeros_like(state.encoder)
    if rest is not None:
      num_rest = rest.shape[1]
      mixture = jnp.pad(rest, ((0, 0), (0, hop - num_rest)))
    if self.padding == "none":
      estimates = self._finish_unpadded(state, mixture)
    else:
      if num_rest:
        mixture = jnp.pad(mixture, ((0, 0), (0, hop)))
      estimates = self.stream_step(state, mixture)[1]
    return estimates[..., : num_rest + self.stream_latency]

  def _finish_unpadded(self, state, rest):
    """The estimates of the last hop and of a rest that zeros fill to one."""
    silence = jnp.zeros_like(state.decoder)
    # A mixture shorter than a filter makes one frame, completed by zeros: of
    # the hop before the rest, or of the rest alone.
    begun = state.started[:, None]
    alone, first = self.stream_step(
      state._replace(
        started=jnp.ones_like(state.started),
        encoder=jnp.where(begun, state.encoder, rest),
      ),
      jnp.where(begun, rest, 0.0),
    )
    begun = begun[..., None]
    short = jnp.concatenate(
      [
        jnp.where(begun, first, silence),
        jnp.where(begun, alone.decoder, first),
      ],
      axis=-1,
    )
    usual = jnp.concatenate([state.decoder, silence], axis=-1)
    return jnp.where(state.masker.count[:, None, None] > 0, usual, short)
