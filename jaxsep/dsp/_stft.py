"""The short-time Fourier transform, its inverse, and both on a stream."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep.dsp._frames import frame, overlap_add
from jaxsep.dsp._precision import at_least_float32
from jaxsep.dsp._windows import get_window
from jaxsep.typing import Array, Bool, Complex, Float, Int

# Smallest weight, relative to the largest, that a sample may have in the
# squared windows over it and still be recovered from float32 frames.
_LEAST_WEIGHT = 1e-10


class StftState(NamedTuple):
  """What `Stft` carries from one chunk of a stream to the next.

  Attributes:
    waiting: Zeros still to come out before the signal, shape `[B]`.
    past: The samples that the next frames begin with, `[B, latency]`.
    sums: What past frames add to the next samples, `[B, S, n_fft - hop]`.
    weights: The same sums of the squared windows, `[B, n_fft - hop]`.
  """

  waiting: Array
  past: Array
  sums: Array
  weights: Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stft:
  """Short-time Fourier transform: options that nest in models and configs.

  A call transforms a signal, and `inverse` is the least-squares inverse. The
  `stream_` methods do both chunk by chunk, where a chunk is a whole number of
  hops. A stream gives the spectra and samples of the whole signal; the samples
  come `stream_latency` samples late (see `inference.stream`).

  Attributes:
    n_fft: Length of a frame and of its transform; any number.
    hop_length: Samples from one frame to the next.
    win_length: Length of the window, which is centred in the frame between
      zeros. None is `n_fft`.
    window: Name of the window, see `get_window`.
    center: Whether frame n is centred on sample `n * hop_length`, with
      `n_fft // 2` zeros added at both ends of the signal, or starts there.

  Raises:
    ValueError: If a length is not positive, the window is longer than the
      frame, or its name is unknown.

  References:
    Griffin and Lim, Signal estimation from modified short-time Fourier
    transform, 1984, eq. (6), for the inverse.

  Example:
    >>> stft = Stft(n_fft=8, hop_length=4)
    >>> spectrum = stft(jnp.ones(5))
    >>> print(spectrum.shape, stft.inverse(spectrum, length=5).round(3))
    (2, 5) [1. 1. 1. 1. 1.]
    >>> state, parts = stft.stream_init(1, num_sources=1), []
    >>> for chunk in jnp.split(jnp.ones((1, 12)), 3, axis=1):
    ...   state, spectra, _ = stft.stream_forward(state, chunk)
    ...   state, samples = stft.stream_inverse(state, spectra[:, None])
    ...   parts.append(samples)
    >>> print(stft.stream_latency, jnp.concatenate(parts, axis=-1).round(3))
    4 [[[0. 0. 0. 0. 1. 1. 1. 1. 1. 1. 1. 1.]]]
  """

  n_fft: int = 256
  hop_length: int = 64
  win_length: int | None = None
  window: str = "hann"
  center: bool = True

  def __post_init__(self):
    if self.hop_length < 1:
      raise ValueError(f"hop_length {self.hop_length} must be positive")
    _ = self._window

  @property
  def num_bins(self) -> int:
    """Frequency bins, F."""
    return self.n_fft // 2 + 1

  def num_frames(self, num_samples: Any) -> Any:
    """Frames N of a signal of this length, or of an array of lengths.

    With `center` and an even `n_fft`, `1 + num_samples // hop_length`.
    """
    if self.center:
      num_samples = num_samples + 2 * (self.n_fft // 2)
    return 1 + (num_samples - self.n_fft) // self.hop_length

  def __call__(
    self, signal: Float[Array, "*batch time"]
  ) -> Complex[Array, "*batch frames bins"]:
    """Transforms a signal.

    Args:
      signal: Signal, shape `[..., T]`.

    Returns:
      Spectrum, complex64, shape `[..., N, F]`. Time comes before frequency,
      unlike in librosa.

    Raises:
      ValueError: If the signal is shorter than a frame, without `center`.
    """
    return _forward(self, at_least_float32(signal))

  def inverse(
    self,
    spectrum: Complex[Array, "*batch frames bins"],
    *,
    length: int | None = None,
    num_frames: Int[Array, "examples"] | None = None,
  ) -> Float[Array, "*batch time"]:
    """The signal whose spectrum is nearest to this one in squared error.

    Exact for a spectrum of `__call__` and the `length` of its signal, with
    `center` and a hop below half of the window. Otherwise, samples at the ends
    where the windows are zero come back as zeros, and samples where they are
    almost zero come back noisy.

    Args:
      spectrum: Spectrum, shape `[..., N, F]`.
      length: Samples wanted; the signal is cut or zero-padded to it. None
        gives what the frames cover, without the padding of `center`.
      num_frames: Valid frames of each example in a padded batch, shape `[B]`,
        for a spectrum `[B, ..., N, F]`. None uses all.

    Returns:
      Signal, shape `[..., T]`.

    Raises:
      ValueError: If the bins are not those of `n_fft`, or if the hop is so
        long that no frame covers some samples.
    """
    spectrum = jnp.asarray(spectrum)
    if spectrum.shape[-1] != self.num_bins:
      raise ValueError(
        f"spectrum {spectrum.shape} has {spectrum.shape[-1]} bins;"
        f" n_fft={self.n_fft} has {self.num_bins}"
      )
    return _inverse(self, spectrum, num_frames, length)

  @property
  def stream_latency(self) -> int:
    """Samples that the output of a stream is behind its input."""
    return (self._delay - 1) * self.hop_length + self.n_fft // 2

  def stream_init(self, batch: int, *, num_sources: int) -> StftState:
    """The state before the first sample of `batch` signals.

    `num_sources` is the number of spectra to invert for each of them. Raises
    ValueError if there is no inverse, or if frames are not centred.
    """
    if not self.center:
      raise ValueError("streams need center=True")
    self._least_weight()
    overlap = self.n_fft - self.hop_length
    return StftState(
      waiting=jnp.full((batch,), self.stream_latency, jnp.int32),
      past=jnp.zeros((batch, self.stream_latency)),
      sums=jnp.zeros((batch, num_sources, overlap)),
      weights=jnp.zeros((batch, overlap)),
    )

  def stream_forward(
    self, state: StftState, signal: Float[Array, "batch time"]
  ) -> tuple[
    StftState, Complex[Array, "batch frames bins"], Bool[Array, "batch frames"]
  ]:
    """Transforms the next `N * hop_length` samples.

    Returns the state for `stream_inverse`, the spectra of N frames, and which
    of them count: the first frames are centred before the start of the signal.
    """
    padded = jnp.concatenate([state.past, signal], axis=1)
    spectra = dataclasses.replace(self, center=False)(padded)
    past = padded[:, padded.shape[1] - self.stream_latency :]
    valid = self._valid(state, spectra.shape[1])
    return state._replace(past=past), spectra, valid

  def stream_inverse(
    self, state: StftState, spectra: Complex[Array, "batch sources frames bins"]
  ) -> tuple[StftState, Float[Array, "batch sources time"]]:
    """Inverts the N frames that `stream_forward` gave last.

    Returns the state for the next chunk and the next `N * hop_length` samples;
    those before the signal are zeros.
    """
    num_frames = spectra.shape[2]
    frames, squares = _weighted(self, spectra, self._valid(state, num_frames))
    sums = self._add(state.sums, frames)
    weights = self._add(state.weights, squares)
    length = num_frames * self.hop_length
    samples = self._divided(state.waiting, sums, weights)[..., :length]
    state = state._replace(
      waiting=jnp.maximum(state.waiting - length, 0),
      sums=sums[..., length:],
      weights=weights[..., length:],
    )
    return state, samples

  def stream_ending(
    self, rest: Float[Array, "batch time"]
  ) -> Float[Array, "batch padded"]:
    """The last samples, less than a hop, with the zeros of the last frames.

    The result is a whole number of hops and may be empty.
    """
    reach = rest.shape[1] + self.n_fft // 2 * 2 - self.n_fft
    num_frames = self._delay + reach // self.hop_length
    missing = num_frames * self.hop_length - rest.shape[1]
    return jnp.pad(rest, ((0, 0), (0, missing)))

  def stream_finish(self, state: StftState) -> Float[Array, "batch sources _"]:
    """The last `n_fft - hop_length` samples, after those of `stream_ending`."""
    return self._divided(state.waiting, state.sums, state.weights)

  @property
  def _window(self):
    """The window, float64, with zeros around it up to `n_fft`."""
    length = self.n_fft if self.win_length is None else self.win_length
    if length > self.n_fft:
      raise ValueError(
        f"win_length {length} must not exceed n_fft {self.n_fft}"
      )
    left = (self.n_fft - length) // 2
    values = get_window(self.window, length).astype(np.float64)
    return np.pad(values, (left, self.n_fft - length - left))

  @property
  def _delay(self):
    """Hops from the centre of a frame to its end."""
    return -(-(self.n_fft - self.n_fft // 2) // self.hop_length)

  def _least_weight(self):
    """The least sum of squared windows that a sample can be recovered from."""
    squares = np.pad(self._window**2, (0, -self.n_fft % self.hop_length))
    weight = squares.reshape(-1, self.hop_length).sum(axis=0)
    least = _LEAST_WEIGHT * weight.max()
    if weight.min() <= least:
      raise ValueError(
        f"no inverse: {self.window} windows of"
        f" {np.count_nonzero(self._window)} samples every {self.hop_length}"
        " samples do not cover every sample; use a shorter hop_length"
      )
    return least

  def _valid(self, state, num_frames):
    """Which of the next frames are centred on the signal, not before it."""
    centers = self.n_fft // 2 + self.hop_length * jnp.arange(num_frames)
    return centers[None] >= state.waiting[:, None]

  def _add(self, sums, frames):
    """What past frames left and what the next ones add."""
    added = overlap_add(frames, hop_length=self.hop_length)
    missing = added.shape[-1] - sums.shape[-1]
    return added + jnp.pad(sums, [(0, 0)] * (sums.ndim - 1) + [(0, missing)])

  def _divided(self, waiting, sums, weights):
    """The least-squares samples; zeros before the first one."""
    begun = jnp.arange(sums.shape[-1])[None] >= waiting[:, None]
    samples = sums * _inverted(weights, self._least_weight())[:, None]
    return jnp.where(begun[:, None], samples, 0.0)


# Compiled as a whole, also where the caller does not compile.
@functools.partial(jax.jit, static_argnums=0, inline=True)
def _forward(stft, signal):
  """The transform of a signal of float32 or better."""
  if stft.center:
    half = stft.n_fft // 2
    signal = jnp.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(half, half)])
  frames = frame(signal, frame_length=stft.n_fft, hop_length=stft.hop_length)
  return jnp.fft.rfft(frames * _aligned(stft._window, frames), stft.n_fft)


@functools.partial(jax.jit, static_argnums=(0, 3), inline=True)
def _inverse(stft, spectrum, num_frames, length):
  """The inverse for a spectrum with the right number of bins."""
  least = stft._least_weight()
  count = spectrum.shape[-2]
  if num_frames is None:
    frames = jnp.fft.irfft(spectrum, stft.n_fft)
    frames = frames * _aligned(stft._window, frames)
    inverse = _inverse_weight(stft, count)
  else:
    valid = jnp.arange(count)[None] < jnp.asarray(num_frames)[:, None]
    frames, squares = _weighted(stft, spectrum, valid)
    weights = overlap_add(squares, hop_length=stft.hop_length)
    inverse = _inverted(weights, least)
  signal = overlap_add(frames, hop_length=stft.hop_length)
  start = stft.n_fft // 2 if stft.center else 0
  stop = signal.shape[-1] - start if length is None else start + length
  signal = signal[..., start:stop]
  signal = signal * _aligned(inverse[..., start:stop], signal)
  missing = 0 if length is None else length - signal.shape[-1]
  return jnp.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(0, missing)])


def _weighted(stft, spectra, valid):
  """Windowed frames and squared windows; zeros in frames that do not count."""
  window = jnp.asarray(stft._window, jnp.float32)
  frames = jnp.fft.irfft(spectra, stft.n_fft)
  frames = frames * _aligned(window, frames)
  squares = jnp.where(valid[..., None], jnp.square(window)[None, None], 0.0)
  counted = valid.reshape(len(valid), *[1] * (spectra.ndim - 3), -1, 1)
  return jnp.where(counted, frames, 0.0), squares


def _inverted(weights, least):
  """One over the weights; 0 for samples that no frame covers."""
  return jnp.where(weights > least, 1.0 / jnp.maximum(weights, least), 0.0)


def _inverse_weight(stft, num_frames):
  """One over the squared windows' sum at each sample, 0 where it is lost."""
  window, n_fft, hop_length = stft._window, stft.n_fft, stft.hop_length
  num_hops = -(-n_fft // hop_length)
  # More than a frame away from both ends the sum repeats every hop.
  num_ends = min(num_frames, 2 * num_hops)
  total = np.zeros((num_ends - 1) * hop_length + n_fft)
  for i in range(num_ends):
    total[i * hop_length :][:n_fft] += window**2
  least = _LEAST_WEIGHT * total.max()
  inverse = np.where(total > least, 1.0 / np.maximum(total, least), 0.0)
  inverse = inverse.astype(np.float32)
  # The compiled code repeats it, so that no constant grows with the signal.
  middle = num_hops * hop_length
  steady = inverse[middle - hop_length : middle]
  steady = jnp.tile(steady, num_frames - num_ends)
  return jnp.concatenate([inverse[:middle], steady, inverse[middle:]])


def _aligned(values, signal):
  """Values `[T]` or `[B, T]`, shaped for a signal `[B, ..., T]`."""
  values = jnp.asarray(values, signal.dtype)
  middle = [1] * (signal.ndim - values.ndim)
  return values.reshape(*values.shape[:-1], *middle, values.shape[-1])
