"""Remembers how the speakers of a recording sound."""

import numpy as np

from jaxsep.typing import Float

_N_FFT = 512
_WINDOW = np.hanning(_N_FFT).astype(np.float32)
# A speaker is described by frames down to 20 dB below the loudest one ...
_LOUD_POWER = 1e-2
# ... and 6 dB above the others together.
_DOMINANCE = 4.0
# Decay per chunk: a memory of about twenty.
_DECAY = 0.95


class SpeakerMemory:
  """The mean log spectrum of each speaker over the last chunks.

  It tells speakers apart by timbre and usual pitch: less reliable than the
  waveforms in an overlap, but it also works after a long pause.
  """

  def __init__(self, num_sources: int):
    self._sum = np.zeros((num_sources, _N_FFT // 2 + 1))
    self._weight = np.zeros((num_sources, 1))

  def distance(
    self, description: tuple[np.ndarray, np.ndarray]
  ) -> Float[np.ndarray, "sources sources"]:
    """Of estimates (rows) to speakers (columns): mean 1, or 0 if unknown."""
    spectrum, weight = description
    mean = self._sum / np.maximum(self._weight, 1e-9)
    distance = np.mean((spectrum[:, np.newaxis] - mean) ** 2, axis=-1)
    known = (weight > 0) & (self._weight.T > 0)
    if not known.any() or not distance[known].mean() > 0:
      return np.zeros_like(distance)
    usual = distance[known].mean()
    distance = np.where(known, distance, usual) / usual
    # An estimate counts by the number of frames behind its description.
    return distance * weight / weight.mean()

  def update(self, description: tuple[np.ndarray, np.ndarray]) -> None:
    """Adds the estimates of a chunk in the order of the speakers."""
    spectrum, weight = description
    self._sum = _DECAY * self._sum + weight * spectrum
    self._weight = _DECAY * self._weight + weight


def describe(
  signals: Float[np.ndarray, "sources time"],
) -> tuple[np.ndarray, np.ndarray]:
  """Mean log spectra `[S, F]` without the level, and their frames `[S, 1]`."""
  whole = signals.shape[-1] // _N_FFT * _N_FFT
  frames = signals[:, :whole].reshape(len(signals), whole // _N_FFT, _N_FFT)
  loudness = np.sum(np.square(frames), axis=-1)
  others = loudness.sum(axis=0) - loudness
  is_loud = (loudness > _LOUD_POWER * loudness.max(initial=0.0)) & (
    loudness > _DOMINANCE * others
  )
  spectrum = np.zeros((len(signals), _N_FFT // 2 + 1))
  for row, source, loud in zip(spectrum, frames, is_loud, strict=True):
    power = np.abs(np.fft.rfft(source[loud] * _WINDOW)) ** 2
    if len(power):
      floor = 1e-6 * power.sum(axis=-1, keepdims=True)
      row[:] = np.log(power + floor).mean(axis=0)
  # Without the mean, which is the level.
  spectrum -= spectrum.mean(axis=-1, keepdims=True)
  return spectrum, is_loud.sum(axis=-1, keepdims=True).astype(np.float64)
