"""The short-time Fourier transform and its inverse."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep.dsp._frames import frame, overlap_add
from jaxsep.dsp._precision import at_least_float32
from jaxsep.dsp._windows import get_window
from jaxsep.typing import Array, Complex, Float

# Smallest weight, relative to the largest, that a sample may have in the
# squared windows over it and still be recovered from float32 frames.
_LEAST_WEIGHT = 1e-10


def stft(
  signal: Float[Array, "*batch time"],
  *,
  n_fft: int,
  hop_length: int,
  win_length: int | None = None,
  window: str = "hann",
  center: bool = True,
  pad_mode: str = "constant",
) -> Complex[Array, "*batch frames bins"]:
  """Short-time Fourier transform.

  Args:
    signal: Signal, shape `[..., T]`.
    n_fft: Length of a frame and of its transform; any number.
    hop_length: Samples from one frame to the next.
    win_length: Length of the window, centred in the frame with zeros around
      it. None is `n_fft`.
    window: Name of the window, see `get_window`.
    center: Whether frame n is centred on sample `n * hop_length`, by padding
      `n_fft // 2` samples on both sides, or starts there.
    pad_mode: With what, as `jax.numpy.pad` calls it: "constant" for zeros,
      "reflect" for the mirrored signal.

  Returns:
    Spectrum, complex64, shape `[..., N, F]` with `F = n_fft // 2 + 1`. Time
    comes before frequency, unlike in librosa. Centred, `N = 1 + T //
    hop_length` for even `n_fft`.

  Raises:
    ValueError: If a length does not fit.

  Example:
    >>> print(stft(jnp.ones(32), n_fft=8, hop_length=4).shape)
    (9, 5)
  """
  return _stft(
    at_least_float32(signal),
    n_fft,
    hop_length,
    win_length,
    window,
    center,
    pad_mode,
  )


def istft(
  spectrum: Complex[Array, "*batch frames bins"],
  *,
  n_fft: int,
  hop_length: int,
  win_length: int | None = None,
  window: str = "hann",
  center: bool = True,
  length: int | None = None,
) -> Float[Array, "*batch time"]:
  """Inverse short-time Fourier transform, the least-squares one.

  Exact for `stft` with the same options and the `length` of the signal. With
  `center=False`, the samples at both ends that the window weighs with zero are
  lost and come back as zeros, and those it hardly weighs come back noisy.

  Args:
    spectrum: Spectrum, shape `[..., N, F]`.
    n_fft: Length of the transform.
    hop_length: Samples from one frame to the next.
    win_length: Length of the window; None is `n_fft`.
    window: Name of the window, see `get_window`.
    center: As given to `stft`.
    length: Samples wanted: the rest is cut off or filled up with zeros. None
      gives what the frames cover, without the padding.

  Returns:
    Signal, shape `[..., T]`.

  Raises:
    ValueError: If the bins are not those of `n_fft`, or if window and hop leave
      samples that no frame carries.

  References:
    Griffin and Lim, Signal estimation from modified short-time Fourier
    transform, 1984, eq. (6).

  Example:
    >>> options = dict(n_fft=8, hop_length=4)
    >>> print(istft(stft(jnp.ones(5), **options), length=5, **options).round(3))
    [1. 1. 1. 1. 1.]
  """
  spectrum = jnp.asarray(spectrum)
  num_bins = spectrum.shape[-1]
  if num_bins != n_fft // 2 + 1:
    raise ValueError(
      f"spectrum {spectrum.shape} has {num_bins} bins; n_fft={n_fft} has"
      f" {n_fft // 2 + 1}"
    )
  return _istft(spectrum, n_fft, hop_length, win_length, window, center, length)


# Compiled also where the caller does not: step by step, each is compiled alone.
@functools.partial(jax.jit, static_argnums=range(1, 7), inline=True)
def _stft(signal, n_fft, hop_length, win_length, window, center, pad_mode):
  """The transform of a signal of float32 or better."""
  padded_window = centered_window(window, win_length, n_fft)
  if center:
    half = n_fft // 2
    if pad_mode == "reflect" and signal.shape[-1] <= half:
      raise ValueError(
        f"signal of {signal.shape[-1]} samples is too short to mirror"
        f" {half} of them; use pad_mode='constant'"
      )
    pads = [(0, 0)] * (signal.ndim - 1) + [(half, half)]
    signal = jnp.pad(signal, pads, mode=pad_mode)
  frames = frame(signal, frame_length=n_fft, hop_length=hop_length)
  return jnp.fft.rfft(frames * _along(padded_window, frames), n_fft)


@functools.partial(jax.jit, static_argnums=range(1, 7), inline=True)
def _istft(spectrum, n_fft, hop_length, win_length, window, center, length):
  """The inverse for a spectrum with the right number of bins."""
  padded_window = centered_window(window, win_length, n_fft)
  least_weight(padded_window, hop_length, window)
  frames = jnp.fft.irfft(spectrum, n_fft)
  frames = frames * _along(padded_window, frames)
  signal = overlap_add(frames, hop_length=hop_length)
  start = n_fft // 2 if center else 0
  stop = signal.shape[-1] - start if length is None else start + length
  signal = signal[..., start:stop]
  weight = _inverse_weight(padded_window, hop_length, spectrum.shape[-2])
  signal = signal * _along(weight[start:stop], signal)
  missing = 0 if length is None else length - signal.shape[-1]
  return jnp.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(0, missing)])


def centered_window(window, win_length, n_fft):
  """The window, float64, with zeros around it up to `n_fft`."""
  win_length = n_fft if win_length is None else win_length
  if win_length > n_fft:
    raise ValueError(f"win_length {win_length} must not exceed n_fft {n_fft}")
  left = (n_fft - win_length) // 2
  values = get_window(window, win_length).astype(np.float64)
  return np.pad(values, (left, n_fft - win_length - left))


def least_weight(padded_window, hop_length, name):
  """What a sample needs of squared windows; refuses those that leave it out."""
  n_fft = len(padded_window)
  if hop_length < 1:
    raise ValueError(f"hop_length {hop_length} must be positive")
  hops = np.pad(padded_window**2, (0, -n_fft % hop_length))
  weight = hops.reshape(-1, hop_length).sum(axis=0)
  least = _LEAST_WEIGHT * weight.max()
  if weight.min() <= least:
    raise ValueError(
      f"no inverse: {name} windows of"
      f" {np.count_nonzero(padded_window)} samples every {hop_length} samples"
      " leave some samples out; use a shorter hop_length"
    )
  return least


def _inverse_weight(padded_window, hop_length, num_frames):
  """One over the sum of the squared windows on each sample, 0 where lost."""
  n_fft = len(padded_window)
  num_hops = -(-n_fft // hop_length)
  # Only within a frame of either end does it differ from the steady state.
  num_ends = min(num_frames, 2 * num_hops)
  total = np.zeros((num_ends - 1) * hop_length + n_fft)
  for i in range(num_ends):
    total[i * hop_length :][:n_fft] += padded_window**2
  least = _LEAST_WEIGHT * total.max()
  inverse = np.where(total > least, 1.0 / np.maximum(total, least), 0.0)
  inverse = inverse.astype(np.float32)
  # Repeated by the compiled code: a long recording makes no long constant.
  middle = num_hops * hop_length
  steady = inverse[middle - hop_length : middle]
  steady = jnp.tile(steady, num_frames - num_ends)
  return jnp.concatenate([inverse[:middle], steady, inverse[middle:]])


def _along(values, signal):
  """The values shaped to go along the last axis of a signal."""
  values = jnp.asarray(values, signal.dtype)
  return values.reshape((1,) * (signal.ndim - 1) + values.shape)
