"""Learned filterbanks: a waveform to frames of features, and back."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxsep.models._options import check_positive
from jaxsep.models.activations import get_activation
from jaxsep.models.initializers import filterbank_initializer
from jaxsep.typing import Array, Float, Int


def num_frames(
  length: Any, *, filter_length: int, padding: str = "both"
) -> Any:
  """Number of frames that the encoder makes of a length, or of an array.

  Example:
    >>> num_frames(32000, filter_length=16)
    4002
    >>> num_frames(32000, filter_length=16, padding="none")
    3999
  """
  hop = filter_length // 2
  before, after = _padding(length, filter_length, padding)
  return (before + length + after) // hop - 1


def _padding(length, filter_length, padding):
  """Samples that the encoder adds before and after; less than 0 are cut."""
  hop = filter_length // 2
  if padding == "none":
    # The tail that fills no hop is dropped; there is one frame at least.
    whole = length // hop * hop
    missing = filter_length - whole
    return 0, whole + missing * (missing > 0) - length
  # One hop at both ends, and 1 to `filter_length` zeros to complete a frame.
  rest = filter_length - (hop + length % filter_length) % filter_length
  return hop, rest + hop


def zero_padding(
  values: Float[Array, "batch *shape"],
  count: Int[Array, "batch"],
  *,
  axis: int = -1,
) -> Float[jax.Array, "batch *shape"]:
  """Values with zeros after the first `count` of each example along an axis."""
  places = jax.lax.broadcasted_iota(jnp.int32, values.shape, values.ndim + axis)
  return jnp.where(
    places < jnp.reshape(count, (-1, *[1] * (values.ndim - 1))), values, 0.0
  )


def _check(filter_length, padding):
  if filter_length < 2 or filter_length % 2:
    raise ValueError(
      f"filter_length must be even and positive, not {filter_length}: the "
      "filters overlap by half."
    )
  if padding not in ("both", "none"):
    raise ValueError(f"padding is 'both' or 'none', not {padding!r}.")


class Encoder(nn.Module):
  """Learned filters over half-overlapping frames, without a bias.

  Maps `[[B]atch, [T]ime]` to `[[B]atch, [N]frames, [F]ilters]`. By default the
  signal is padded at both ends, so that every sample is in two frames and no
  length is cut.

  Attributes:
    num_filters: Features of a frame, F.
    filter_length: Samples of a frame; the hop is half of it.
    activation: `None`, `"relu"` or another name of an activation.
    filterbank_init: What the filters start as: `"uniform"` noise, or
      `"fourier"`, a short-time Fourier transform.
    padding: `"both"` ends, or `"none"` as in Asteroid and SpeechBrain: the
      first frame starts with the first sample, the ends are in one frame and
      a tail shorter than a hop in none.
  """

  num_filters: int = 512
  filter_length: int = 16
  activation: str | None = None
  filterbank_init: str = "uniform"
  padding: str = "both"

  def __call__(
    self,
    signal: Float[Array, "batch time"],
    length: Int[Array, "batch"] | None = None,
  ) -> Float[Array, "batch frames filters"]:
    """Filters the signal, of which `length` samples each are not padding."""
    _check(self.filter_length, self.padding)
    if length is not None:
      signal = zero_padding(signal, length)
    time = signal.shape[1]
    before, after = _padding(time, self.filter_length, self.padding)
    signal = signal[:, : time + min(after, 0)]
    return self._filter(jnp.pad(signal, ((0, 0), (before, max(after, 0)))))

  def stream_init(self, batch: int) -> Float[Array, "batch hop"]:
    """The state for `stream_step`: the hop before the first samples, zeros."""
    _check(self.filter_length, self.padding)
    return jnp.zeros((batch, self.filter_length // 2))

  def stream_step(
    self, state: Float[Array, "batch hop"], signal: Float[Array, "batch time"]
  ) -> tuple[Float[Array, "batch hop"], Float[Array, "batch frames filters"]]:
    """Filters the next samples of a signal, a whole number of hops.

    Returns the state after them, the last hop, and the frames that they
    complete, one per hop. The very first frame starts in the hop of zeros,
    whatever `padding` is.
    """
    hop = self.filter_length // 2
    signal = jnp.concatenate([state, signal], axis=1)
    return signal[:, -hop:], self._filter(signal)

  @nn.compact
  def _filter(self, padded):
    """Features of all frames of a whole number of hops."""
    check_positive(num_filters=self.num_filters)
    hop = self.filter_length // 2
    # Half-overlapping frames are pairs of neighbouring hops: no gather.
    hops = padded.reshape(len(padded), -1, hop)
    frames = jnp.concatenate([hops[:, :-1], hops[:, 1:]], axis=-1)
    kernel = self.param(
      "kernel",
      filterbank_initializer(self.filterbank_init, fan_in=self.filter_length),
      (self.filter_length, self.num_filters),
    )
    return get_activation(self.activation)(_product(frames, kernel))


def _product(frames, kernel):
  """A matmul in float32, also where the device's default precision is lower."""
  return jnp.matmul(frames, kernel, precision=jax.lax.Precision.HIGHEST)


class Decoder(nn.Module):
  """Learned filters added up to a waveform, without a bias.

  Maps `[..., [N]frames, [F]ilters]` to `[..., [T]ime]`, the inverse shape of
  `Encoder`. The frames are added as they are, without a factor for overlap.

  Attributes:
    filter_length: Samples of a frame; the hop is half of it.
    filterbank_init: See `Encoder`.
    padding: See `Encoder`; samples that no frame saw are zero.
    fan_in: What uniform noise is drawn for, see `uniform_fan_in`. None for
      `filter_length`, as PyTorch's transposed convolution has it.
  """

  filter_length: int = 16
  filterbank_init: str = "uniform"
  padding: str = "both"
  fan_in: int | None = None

  def __call__(
    self,
    features: Float[Array, "*batch frames filters"],
    *,
    length: int,
    num_samples: Int[Array, "examples"] | None = None,
  ) -> Float[Array, "*batch time"]:
    """Synthesises a waveform, the padding of the encoder removed.

    Args:
      features: Frames, shape `[..., N, F]`.
      length: Samples T of the waveform.
      num_samples: Samples of each example in a padded batch, shape `[B]`; the
        features are then `[B, ..., N, F]`. What is padding is zero.

    Returns:
      Waveform, shape `[..., T]`.

    Raises:
      ValueError: If `length` samples have another number of frames.
    """
    _check(self.filter_length, self.padding)
    frames_of = functools.partial(
      num_frames, filter_length=self.filter_length, padding=self.padding
    )
    expected = frames_of(length)
    if features.shape[-2] != expected:
      raise ValueError(
        f"{length} samples have {expected} frames of {self.filter_length} "
        f"samples, but the features have shape {features.shape}."
      )
    if num_samples is not None:
      features = zero_padding(features, frames_of(num_samples), axis=-2)
    heads, tails = self._halves(features)
    # Every hop is the head of one frame plus the tail of the one before.
    hops = heads[..., 1:, :] + tails[..., :-1, :]
    if self.padding == "none":
      hops = jnp.concatenate(
        [heads[..., :1, :], hops, tails[..., -1:, :]], axis=-2
      )
    # Otherwise the first and the last hop are padding.
    signal = hops.reshape(*hops.shape[:-2], -1)
    if missing := max(0, length - signal.shape[-1]):
      signal = jnp.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(0, missing)])
    signal = jax.lax.slice_in_dim(signal, 0, length, axis=-1)
    if num_samples is not None:
      signal = zero_padding(signal, num_samples)
    return signal

  def stream_init(self, *batch: int) -> Float[Array, "*batch hop"]:
    """The state for `stream_step`: the tail of the frame before the first one.

    It is zeros; `batch` are the axes before the frames.
    """
    _check(self.filter_length, self.padding)
    return jnp.zeros((*batch, self.filter_length // 2))

  def stream_step(
    self,
    state: Float[Array, "*batch hop"],
    features: Float[Array, "*batch frames filters"],
  ) -> tuple[Float[Array, "*batch hop"], Float[Array, "*batch time"]]:
    """Synthesises the samples that the next frames complete, one hop per frame.

    The state is the tail of the last frame, which the next one completes.
    """
    heads, tails = self._halves(features)
    tails = jnp.concatenate([state[..., None, :], tails], axis=-2)
    hops = heads + tails[..., :-1, :]
    return tails[..., -1, :], hops.reshape(*hops.shape[:-2], -1)

  @nn.compact
  def _halves(self, features):
    """First and second halves of the frames of samples."""
    kernel = self.param(
      "kernel",
      filterbank_initializer(
        self.filterbank_init,
        fan_in=self.fan_in or self.filter_length,
        transpose=True,
      ),
      (features.shape[-1], self.filter_length),
    )
    frames = _product(features, kernel)
    hop = self.filter_length // 2
    return frames[..., :hop], frames[..., hop:]
