"""Remembers how the voices of a recording sound."""

import numpy as np

from jaxsep.typing import Float

_N_FFT = 512
# Frames down to 20 dB below the loudest one show a voice.
_LOUD_POWER = 1e-2
# A memory of about the last twenty chunks.
_DECAY = 0.95


class VoiceMemory:
  """The mean log spectrum of each voice over the last chunks.

  It tells voices apart by their timbre and their usual pitch: far worse than a
  look at the waveforms in an overlap, but also after a long pause.
  """

  def __init__(self, num_sources: int):
    self._sum = np.zeros((num_sources, _N_FFT // 2 + 1))
    self._weight = np.zeros((num_sources, 1))

  def distance(
    self, estimate: Float[np.ndarray, "sources time"]
  ) -> Float[np.ndarray, "sources sources"]:
    """How unlike each estimate (rows) is to each voice (columns).

    Returns:
      Distances with a mean of one, or zeros where nothing is known.
    """
    spectrum, weight = _log_spectrum(estimate)
    mean = self._sum / np.maximum(self._weight, 1e-9)
    distance = np.mean(
      (_centered(spectrum)[:, np.newaxis] - _centered(mean)) ** 2, axis=-1
    )
    known = (weight > 0) & (self._weight.T > 0)
    if not known.any() or not distance[known].mean() > 0:
      return np.zeros_like(distance)
    usual = distance[known].mean()
    return np.where(known, distance, usual) / usual

  def update(self, voices: Float[np.ndarray, "sources time"]) -> None:
    """Adds a chunk of which it is settled which voice is which."""
    spectrum, weight = _log_spectrum(voices)
    self._sum = _DECAY * self._sum + weight * spectrum
    self._weight = _DECAY * self._weight + weight


def _centered(spectrum):
  # A voice is the same one at any level.
  return spectrum - spectrum.mean(axis=-1, keepdims=True)


def _log_spectrum(signals):
  """Mean log spectra `[S, K]`, and the frames behind each, `[S, 1]`."""
  num_frames = signals.shape[-1] // _N_FFT
  frames = signals[:, : num_frames * _N_FFT].reshape(
    len(signals), num_frames, _N_FFT
  )
  window = np.hanning(_N_FFT).astype(np.float32)
  power = np.abs(np.fft.rfft(frames * window)) ** 2
  loudness = power.sum(axis=-1)
  is_loud = loudness > _LOUD_POWER * loudness.max(initial=0.0)
  floor = 1e-6 * np.where(loudness > 0, loudness, 1.0)[..., np.newaxis]
  weight = is_loud.sum(axis=-1, keepdims=True).astype(np.float64)
  total = (np.log(power + floor) * is_loud[..., np.newaxis]).sum(axis=1)
  return total / np.maximum(weight, 1.0), weight
