"""Learned filterbanks: a waveform to frames of features, and back."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxsep.models._options import check_positive
from jaxsep.models.activations import get_activation
from jaxsep.models.initializers import filterbank_initializer
from jaxsep.typing import Array, Float


def num_frames(length: int, *, filter_length: int) -> int:
  """Number of frames that the encoder makes of `length` samples.

  Example:
    >>> num_frames(32000, filter_length=16)
    4002
  """
  hop = filter_length // 2
  return (length + _tail(length, filter_length) + hop) // hop


def _tail(length, filter_length):
  """Zeros after the signal, besides one hop at both ends: 1 to a filter."""
  hop = filter_length // 2
  return filter_length - (hop + length % filter_length) % filter_length


def _check(filter_length):
  if filter_length < 2 or filter_length % 2:
    raise ValueError(
      f"filter_length must be even and positive, not {filter_length}: the "
      "filters overlap by half."
    )


class Encoder(nn.Module):
  """Learned filters over half-overlapping frames, without a bias.

  Maps `[[B]atch, [T]ime]` to `[[B]atch, [N]frames, [F]ilters]`. The signal is
  padded at both ends, so that every sample is seen by two frames and no
  length, however short, is cut.

  Attributes:
    num_filters: Features of a frame, F.
    filter_length: Samples of a frame; the hop is half of it.
    activation: `None`, `"relu"` or another name of an activation.
    filterbank_init: What the filters start as: `"uniform"` noise, or
      `"fourier"`, a short-time Fourier transform.
  """

  num_filters: int = 512
  filter_length: int = 16
  activation: str | None = None
  filterbank_init: str = "uniform"

  @nn.compact
  def __call__(
    self, signal: Float[Array, "batch time"]
  ) -> Float[Array, "batch frames filters"]:
    """Filters the signal."""
    check_positive(num_filters=self.num_filters)
    _check(self.filter_length)
    hop = self.filter_length // 2
    batch, length = signal.shape
    tail = _tail(length, self.filter_length)
    padded = jnp.pad(signal, ((0, 0), (hop, hop + tail)))
    # Half-overlapping frames are pairs of neighbouring hops: no gather.
    hops = padded.reshape(batch, -1, hop)
    frames = jnp.concatenate([hops[:, :-1], hops[:, 1:]], axis=-1)
    kernel = self.param(
      "kernel",
      filterbank_initializer(self.filterbank_init, fan_in=self.filter_length),
      (self.filter_length, self.num_filters),
    )
    return get_activation(self.activation)(frames @ kernel)


class Decoder(nn.Module):
  """Learned filters added up to a waveform, without a bias.

  Maps `[..., [N]frames, [F]ilters]` to `[..., [T]ime]`, the inverse shape of
  `Encoder`. The frames are added as they are, without a factor for overlap.

  Attributes:
    filter_length: Samples of a frame; the hop is half of it.
    filterbank_init: See `Encoder`.
  """

  filter_length: int = 16
  filterbank_init: str = "uniform"

  @nn.compact
  def __call__(
    self, features: Float[Array, "*batch frames filters"], *, length: int
  ) -> Float[Array, "*batch time"]:
    """Synthesises `length` samples, the padding of the encoder removed."""
    _check(self.filter_length)
    hop = self.filter_length // 2
    expected = num_frames(length, filter_length=self.filter_length)
    if features.shape[-2] != expected:
      raise ValueError(
        f"{length} samples have {expected} frames of {self.filter_length} "
        f"samples, but the features have shape {features.shape}."
      )
    kernel = self.param(
      "kernel",
      filterbank_initializer(
        self.filterbank_init, fan_in=self.filter_length, transpose=True
      ),
      (features.shape[-1], self.filter_length),
    )
    frames = features @ kernel
    # Every hop is the head of one frame plus the tail of the one before; the
    # first and the last hop are padding.
    hops = frames[..., 1:, :hop] + frames[..., :-1, hop:]
    signal = hops.reshape(*hops.shape[:-2], -1)
    return jax.lax.slice_in_dim(signal, 0, length, axis=-1)
