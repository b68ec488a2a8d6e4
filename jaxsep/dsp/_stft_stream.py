"""The short-time Fourier transform of a signal that comes in chunks."""

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp

from jaxsep.dsp._frames import overlap_add
from jaxsep.dsp._stft import centered_window, least_weight, stft
from jaxsep.typing import Array, Bool, Complex, Float


class StftState(NamedTuple):
  """What `StftStream` carries from one chunk to the next.

  Attributes:
    waiting: Samples still to come out before the first one of the signal,
      shape `[B]`.
    past: The samples that the next frames begin with, `[B, latency]`.
    sums: What past frames add to the next samples, `[B, S, n_fft - hop]`.
    weights: The same of their squared windows, `[B, n_fft - hop]`.
  """

  waiting: Array
  past: Array
  sums: Array
  weights: Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class StftStream:
  """The centred `stft` and its inverse, chunk by chunk, with carried state.

  A chunk is a whole number of hops, and completes as many frames. The spectra
  and samples are those of `stft` and `istft` on the whole signal, both ends
  included. Samples come out `latency` samples late, as few as the frames
  allow: the last frame over a sample must be complete.

  Attributes:
    n_fft: Length of a frame and of its transform.
    hop_length: Samples from one frame to the next.
    window: Name of the window, see `get_window`.

  Raises:
    ValueError: If window and hop leave samples that no frame carries.

  Example:
    >>> live = StftStream(n_fft=8, hop_length=2)
    >>> state, parts = live.init(1, num_sources=1), []
    >>> for chunk in jnp.split(jnp.ones((1, 12)), 3, axis=1):
    ...   state, spectra, _ = live.analyze(state, chunk)
    ...   state, samples = live.synthesize(state, spectra[:, None])
    ...   parts.append(samples)
    >>> live.latency
    6
    >>> print(jnp.concatenate(parts, axis=-1)[0, 0].round(3))
    [0. 0. 0. 0. 0. 0. 1. 1. 1. 1. 1. 1.]
  """

  n_fft: int
  hop_length: int
  window: str = "hann"

  def __post_init__(self):
    """Refuses a window without an inverse."""
    least_weight(self._window, self.hop_length, self.window)

  @property
  def latency(self) -> int:
    """Samples that the output is behind the input."""
    return (self._delay - 1) * self.hop_length + self.n_fft // 2

  @property
  def _window(self):
    return centered_window(self.window, None, self.n_fft)

  @property
  def _delay(self):
    """Hops from the centre of a frame to its end."""
    return -(-(self.n_fft - self.n_fft // 2) // self.hop_length)

  def init(self, batch: int, *, num_sources: int) -> StftState:
    """The state before the first sample.

    Args:
      batch: Signals at a time.
      num_sources: Spectra to invert for each of them, S.

    Returns:
      The state.
    """
    overlap = self.n_fft - self.hop_length
    return StftState(
      waiting=jnp.full((batch,), self.latency, jnp.int32),
      past=jnp.zeros((batch, self.latency)),
      sums=jnp.zeros((batch, num_sources, overlap)),
      weights=jnp.zeros((batch, overlap)),
    )

  def analyze(
    self, state: StftState, signal: Float[Array, "batch time"]
  ) -> tuple[
    StftState, Complex[Array, "batch frames bins"], Bool[Array, "batch frames"]
  ]:
    """Transforms the next samples, a whole number of hops.

    Args:
      state: What came before.
      signal: The next samples, shape `[B, N * hop_length]`.

    Returns:
      The state for `synthesize`, the spectra of the N frames that end within
      the samples, and which of them `stft` has too: the first frames of all
      end before the signal is half a frame long, and do not count.
    """
    padded = jnp.concatenate([state.past, signal], axis=1)
    spectra = stft(
      padded,
      n_fft=self.n_fft,
      hop_length=self.hop_length,
      window=self.window,
      center=False,
    )
    past = padded[:, padded.shape[1] - self.latency :]
    valid = self._valid(state, spectra.shape[1])
    return state._replace(past=past), spectra, valid

  def synthesize(
    self, state: StftState, spectra: Complex[Array, "batch sources frames bins"]
  ) -> tuple[StftState, Float[Array, "batch sources time"]]:
    """Inverts the spectra of the frames that `analyze` gave last.

    Args:
      state: What `analyze` returned.
      spectra: Spectra, shape `[B, S, N, F]`.

    Returns:
      The state for the next chunk, and `N * hop_length` samples, `latency`
      samples late; those before the signal are zeros.
    """
    num_frames = spectra.shape[2]
    window = jnp.asarray(self._window, jnp.float32)
    valid = self._valid(state, num_frames)[..., None]
    frames = jnp.fft.irfft(spectra, self.n_fft) * window[None, None, None]
    frames = jnp.where(valid[:, None], frames, 0.0)
    squares = jnp.where(valid, jnp.square(window)[None, None], 0.0)
    sums = self._add(state.sums, frames)
    weights = self._add(state.weights, squares)
    length = num_frames * self.hop_length
    samples = self._weighed(state.waiting, sums, weights)[..., :length]
    state = state._replace(
      waiting=jnp.maximum(state.waiting - length, 0),
      sums=sums[..., length:],
      weights=weights[..., length:],
    )
    return state, samples

  def ending(
    self, rest: Float[Array, "batch time"]
  ) -> Float[Array, "batch padded"]:
    """The last samples, and the zeros that complete the last frames.

    Args:
      rest: What is left of the signal, less than a hop; may be empty.

    Returns:
      A whole number of hops, at times none.
    """
    beyond = rest.shape[1] + self.n_fft // 2 * 2 - self.n_fft
    num_frames = self._delay + beyond // self.hop_length
    missing = num_frames * self.hop_length - rest.shape[1]
    return jnp.pad(rest, ((0, 0), (0, missing)))

  def finish(self, state: StftState) -> Float[Array, "batch sources time"]:
    """The samples that no more frame will add to.

    Args:
      state: The state after `ending`.

    Returns:
      What follows the samples that came out so far, `n_fft - hop_length`.
    """
    return self._weighed(state.waiting, state.sums, state.weights)

  def _valid(self, state, num_frames):
    """Which of the next frames are centred on the signal, not before it."""
    centers = self.n_fft // 2 + self.hop_length * jnp.arange(num_frames)
    return centers[None] >= state.waiting[:, None]

  def _add(self, sums, frames):
    """What past frames left and what the next ones add."""
    added = overlap_add(frames, hop_length=self.hop_length)
    missing = added.shape[-1] - sums.shape[-1]
    pads = [(0, 0)] * (sums.ndim - 1) + [(0, missing)]
    return added + jnp.pad(sums, pads)

  def _weighed(self, waiting, sums, weights):
    """The least-squares samples; zeros before the first one."""
    least = least_weight(self._window, self.hop_length, self.window)
    begun = jnp.arange(sums.shape[-1])[None] >= waiting[:, None]
    inverse = 1.0 / jnp.maximum(weights, least)
    known = begun & (weights > least)
    return jnp.where(known[:, None], sums * inverse[:, None], 0.0)
