"""Spectrogram-TasNet: Conv-TasNet's separator on a spectrogram."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxsep import dsp
from jaxsep.models._options import check_choice, check_mixture
from jaxsep.models._streaming import FrameState
from jaxsep.models.coders import zero_padding
from jaxsep.models.tcn import TemporalConvNet
from jaxsep.typing import Array, Complex, Float, Int

# Magnitude below which a bin counts as empty.
_FLOOR = 1e-8

_COMPRESSIONS = {
  None: lambda magnitude: magnitude,
  "log": lambda magnitude: jnp.log(_FLOOR + magnitude),
  "power": lambda magnitude: jnp.maximum(magnitude, _FLOOR) ** 0.3,
}
# Those whose masks are never negative and so scale magnitudes.
_MASK_ACTIVATIONS = ("sigmoid", "relu", "softmax")


class SpectrogramTasNetState(NamedTuple):
  """What `SpectrogramTasNet` carries from one chunk of a stream to the next."""

  stft: dsp.StftState
  masker: FrameState


class SpectrogramTasNet(nn.Module):
  """Separates a waveform into sources by masks on its spectrogram.

  Maps `[[B]atch, [T]ime]` to `[[B]atch, [S]ources, [T]ime]`, for any length
  from one sample on. A temporal convolutional network sees the magnitudes of a
  short-time Fourier transform and gives a mask for each source; the masked
  spectra, with the phase of the mixture, become waveforms again. It is trained
  on the spectra (`estimate_spectra`, see `tasks.SpectrogramSeparationTask`).

  The paper says no more; the defaults are the sizes of its ConvTasNet and, at
  8 kHz, windows of 32 ms every 8 ms, with 4,885,557 parameters for 129 bins.
  The network then sees 12.2 s, that of ConvTasNet 1.5 s. A level change of the
  mixture changes the level of the estimates and, except for the floors of
  compression and norms, nothing else.

  Attributes:
    num_sources: Speakers to separate.
    stft: The short-time Fourier transform.
    compression: Of the magnitudes that the network sees: `"log"`, `"power"`
      for the power of 0.3, or `None`. The masks apply to the linear ones.
    masker: The network that estimates the masks, with a `mask_activation` of
      `"sigmoid"`, which keeps masks below one, `"relu"`, or `"softmax"`, with
      which the estimates add up to the mixture. With `causal=True` in it,
      estimates depend on the past only, except for the samples of one window:
      `jaxsep.inference.stream` is 24 ms late by default at 8 kHz.

  References:
    Parikh, Rochette, Espy-Wilson and Shamma, Interspeech 2022,
    arXiv 2206.09556, section 2.2.4.

  Example:
    >>> import jax
    >>> masker = TemporalConvNet(num_blocks=2, num_repeats=1)
    >>> model = SpectrogramTasNet(masker=masker)
    >>> mixture = jnp.zeros((1, 8000))
    >>> variables = jax.jit(model.init)(jax.random.key(0), mixture)
    >>> jax.jit(model.apply)(variables, mixture).shape
    (1, 2, 8000)
    >>> model.apply(variables, mixture, method="estimate_spectra").shape
    (1, 2, 126, 129)
  """

  num_sources: int = 2
  stft: dsp.Stft = dsp.Stft(n_fft=256, hop_length=64)
  compression: str | None = "log"
  masker: TemporalConvNet = TemporalConvNet()

  @property
  def hop_length(self) -> int:
    """Samples from one frame to the next."""
    return self.stft.hop_length

  @property
  def receptive_field(self) -> int:
    """Samples that one frame of the masks depends on, norms aside."""
    frames = self.masker.receptive_field
    return (frames - 1) * self.hop_length + self.stft.n_fft

  @property
  def is_causal(self) -> bool:
    """Whether estimates wait for no more than `stream_latency` samples."""
    return self.masker.is_causal

  @nn.nowrap
  def example_inputs(self) -> dict[str, jax.Array]:
    """Small arguments for `init`."""
    return {"mixture": jnp.zeros((1, 2 * self.stft.n_fft))}

  def __call__(
    self,
    mixture: Float[Array, "batch time"],
    *,
    length: Int[Array, "batch"] | None = None,
    train: bool = False,
  ) -> Float[Array, "batch {self.num_sources} time"]:
    """Separates the mixtures; see `ConvTasNet.__call__`."""
    spectra = self.estimate_spectra(mixture, length=length, train=train)
    estimates = self.stft.inverse(
      spectra, length=mixture.shape[1], num_frames=self._num_frames(length)
    )
    return estimates if length is None else zero_padding(estimates, length)

  def estimate_spectra(
    self,
    mixture: Float[Array, "batch time"],
    *,
    length: Int[Array, "batch"] | None = None,
    train: bool = False,
  ) -> Complex[Array, "batch {self.num_sources} frames bins"]:
    """Masked spectra of the mixture; their magnitudes are the estimates.

    Args:
      mixture: Mixtures, shape `[B, T]`.
      length: See `ConvTasNet.__call__`; so is `train`.
      train: Whether the model is trained.

    Returns:
      A mask times the mixture's spectrum for each source, `[B, S, N, F]`.

    Raises:
      ValueError: If the mixture is empty or has other axes.
    """
    check_mixture(mixture)
    self._check()
    if length is not None:
      mixture = zero_padding(mixture, length)
    spectrum = self.analyze(mixture)
    masks = self.masker(
      self._features(spectrum),
      num_sources=self.num_sources,
      num_frames=self._num_frames(length),
    )
    return masks * spectrum[:, None]

  @nn.nowrap
  def analyze(
    self, signal: Float[Array, "*batch time"]
  ) -> Complex[Array, "*batch frames bins"]:
    """The spectrum that masks apply to; needs no parameters.

    Args:
      signal: Mixtures or references, shape `[..., T]`.

    Returns:
      Spectra, shape `[..., N, F]` with `N = 1 + T // hop_length`.
    """
    return self.stft(signal)

  @nn.nowrap
  def synthesize(
    self, spectra: Complex[Array, "*batch frames bins"], *, length: int
  ) -> Float[Array, "*batch {length}"]:
    """Waveforms of spectra, the least-squares ones; needs no parameters.

    Args:
      spectra: Spectra, shape `[..., N, F]`.
      length: Samples T of the waveforms.

    Returns:
      Waveforms, shape `[..., T]`.
    """
    return self.stft.inverse(spectra, length=length)

  @property
  def stream_latency(self) -> int:
    """Samples that estimates are behind the mixture in a stream."""
    return self.stft.stream_latency

  def stream_init(self, batch: int) -> SpectrogramTasNetState:
    """The state before the first sample; see `jaxsep.inference.stream`."""
    return SpectrogramTasNetState(
      stft=self.stft.stream_init(batch, num_sources=self.num_sources),
      masker=self.masker.stream_init(batch),
    )

  def stream_step(
    self, state: SpectrogramTasNetState, mixture: Float[Array, "batch time"]
  ) -> tuple[
    SpectrogramTasNetState, Float[Array, "batch {self.num_sources} time"]
  ]:
    """Separates the next samples of the mixture, a whole number of hops.

    Returns the state after them, and the estimates delayed by `stream_latency`.
    """
    if len(mixture) != len(state.stft.past):
      raise ValueError(
        f"the mixture {mixture.shape} must have the batch of the state,"
        f" {len(state.stft.past)}."
      )
    stft, spectrum, valid = self.stft.stream_forward(state.stft, mixture)
    masker, masks = self.masker.stream_step(
      state.masker,
      self._features(spectrum),
      valid,
      num_sources=self.num_sources,
    )
    stft, estimates = self.stft.stream_inverse(stft, masks * spectrum[:, None])
    return SpectrogramTasNetState(stft=stft, masker=masker), estimates

  def stream_finish(
    self,
    state: SpectrogramTasNetState,
    rest: Float[Array, "batch rest"] | None = None,
  ) -> Float[Array, "batch {self.num_sources} _"]:
    """The last `stream_latency` estimates, and those of less than a hop."""
    if rest is None:
      rest = jnp.zeros((len(state.stft.past), 0))
    parts = []
    ending = self.stft.stream_ending(rest)
    # With an odd window and a long hop, there may be no further frame.
    if ending.shape[1]:
      state, estimates = self.stream_step(state, ending)
      parts.append(estimates)
    parts.append(self.stft.stream_finish(state.stft))
    estimates = jnp.concatenate(parts, axis=-1)
    length = rest.shape[1] + self.stream_latency
    # With a long hop, samples after the last frame are silent.
    missing = max(0, length - estimates.shape[-1])
    estimates = jnp.pad(estimates, ((0, 0), (0, 0), (0, missing)))
    return estimates[..., :length]

  def _num_frames(self, length):
    return None if length is None else self.stft.num_frames(length)

  def _features(self, spectrum):
    """What the masker sees."""
    return _COMPRESSIONS[self.compression](jnp.abs(spectrum))

  def _check(self):
    check_choice("compression", self.compression, _COMPRESSIONS)
    check_choice(
      "mask_activation", self.masker.mask_activation, _MASK_ACTIVATIONS
    )
