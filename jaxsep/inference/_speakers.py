"""Tells speakers apart by how they sound."""

import functools
import pathlib

import numpy as np
from safetensors.numpy import load_file

from jaxsep import dsp
from jaxsep.inference._even_level import MODEL_LEVEL
from jaxsep.typing import Float

# A source is heard in frames down to 20 dB below the level of speech ...
_LOUD_POWER = 1e-2 * MODEL_LEVEL**2
# ... and 6 dB above the others together.
_DOMINANCE = 4.0
_FRAME_S = 0.064
_NUM_BANDS, _NUM_LAGS = 24, 32
_LOW_HZ, _HIGH_HZ = 60.0, 4000.0
_PITCH_HZ = (400.0, 62.5)
# A speaker is never known better than from descriptors of this weight: steps of
# a recording are not independent, and two speakers would be found in one.
_MOST_KNOWN = 30.0
# Cepstral coefficients whose products are features, and their usual size.
_NUM_CEPSTRA, _CEPSTRUM, _MOST = 10, 5.0, 3.0


class SpeakerModel:
  """Likelihood ratios of descriptors, by probabilistic linear discriminants.

  Reference:
    Ioffe, "Probabilistic Linear Discriminant Analysis", ECCV 2006.
  """

  def __init__(self, parameters: dict[str, np.ndarray], sample_rate_hz: int):
    self._parameters = parameters
    self._rate = sample_rate_hz
    self._between = parameters["between"]
    self.size = len(self._between)

  def describe(
    self, signals: Float[np.ndarray, "sources time"]
  ) -> tuple[np.ndarray, np.ndarray]:
    """Descriptors `[S, D]` of separated signals, and their weights `[S]`."""
    descriptors = np.zeros((len(signals), self.size))
    weights = np.zeros(len(signals))
    for s, features in enumerate(speaker_features(signals, self._rate)):
      if len(features):
        mean = features.mean(axis=0) - self._parameters["mean"]
        descriptors[s] = mean @ self._parameters["projection"]
        weights[s] = 1 / (1 / len(features) + self._parameters["drift"])
    return descriptors, weights

  def compare(
    self,
    sums: Float[np.ndarray, "hypotheses speakers size"],
    weights: Float[np.ndarray, "hypotheses speakers"],
    descriptors: Float[np.ndarray, "sources size"],
    new_weights: Float[np.ndarray, "sources"],
  ) -> Float[np.ndarray, "hypotheses speakers sources"]:
    """Log-likelihood ratios of the same speaker against another one.

    Args:
      sums: Weighted sums of the descriptors of each speaker so far.
      weights: The sums of their weights; an unknown speaker has 0.
      descriptors: New descriptors.
      new_weights: Their weights; with 0, the ratio is 0.
    """
    # Dimensions are independent, with variance 1 within a speaker at weight 1.
    share = 1 / (1 + weights[..., np.newaxis] / _MOST_KNOWN)
    rest = 1 / (1 / self._between + share * weights[..., np.newaxis])
    mean = (rest * share * sums)[:, :, np.newaxis]
    noise = 1 / np.maximum(new_weights, 1e-9)[:, np.newaxis]
    same = rest[:, :, np.newaxis] + noise
    other = self._between + noise
    square = descriptors**2 / other - (descriptors - mean) ** 2 / same
    ratio = (np.log(other / same) + square).sum(axis=-1) / 2
    is_known = (weights[..., np.newaxis] > 0) & (new_weights > 0)
    return np.where(is_known, self._parameters["scale"] * ratio, 0.0)


@functools.cache
def _parameters():
  return load_file(pathlib.Path(__file__).with_name("speakers.safetensors"))


def speaker_model(sample_rate_hz: int) -> SpeakerModel:
  """The model that ships."""
  return SpeakerModel(_parameters(), sample_rate_hz)


def speaker_features(
  signals: Float[np.ndarray, "sources time"], sample_rate_hz: int
) -> list[np.ndarray]:
  """Features `[n, 111]` of the frames in which each source is heard.

  They are the log energies of mel bands up to 4 kHz, without their mean, which
  is the level; the autocorrelation at the lags of a voice's pitch; and the
  products of the first cepstral coefficients, whose mean over frames says how
  they vary. They are the same at any rate, but for what is missing below 4 kHz
  at low ones.

  Args:
    signals: Separated sources at an even level (`EvenLevel`), shape `[S, T]`.
    sample_rate_hz: Their rate.

  Returns:
    For each source its frames, shape `[n, 111]`, 32 ms apart: those in which it
    is not silent, and 6 dB above the other sources together.

  Example:
    >>> speech = np.random.default_rng(0).normal(0, 0.1, (2, 8000))
    >>> speech[1] *= 0.1
    >>> [frames.shape for frames in speaker_features(speech, 8000)]
    [(30, 111), (0, 111)]
  """
  size = round(_FRAME_S * sample_rate_hz)
  window = np.hanning(size + 2)[1:-1]
  bank, lags, cosines = _tables()
  pairs = np.triu_indices(_NUM_CEPSTRA)
  if signals.shape[1] < size:
    return [np.zeros((0, _NUM_BANDS + _NUM_LAGS + len(pairs[0])))] * len(
      signals
    )
  frames = np.lib.stride_tricks.sliding_window_view(signals, size, axis=1)
  frames = frames[:, :: size // 2] * window
  power = np.square(frames).sum(axis=-1)
  others = power.sum(axis=0) - power
  floor = _LOUD_POWER * np.square(window).sum()
  is_heard = (power > floor) & (power > _DOMINANCE * others)
  features = []
  for source, heard in zip(frames, is_heard, strict=True):
    # The bins are the same at any rate.
    spectrum = np.abs(np.fft.rfft(source[heard], 2 * size)[:, : len(bank)]) ** 2
    spectrum = np.pad(spectrum, ((0, 0), (0, len(bank) - spectrum.shape[1])))
    bands = spectrum @ bank
    bands = np.log(bands + 1e-4 * bands.mean(axis=1, keepdims=True))
    bands -= bands.mean(axis=1, keepdims=True)
    # Of the magnitudes, which makes the peaks sharper.
    correlation = np.fft.irfft(np.sqrt(spectrum))
    below = lags.astype(int)
    share = lags - below
    pitch = (1 - share) * correlation[:, below]
    pitch += share * correlation[:, below + 1]
    pitch *= 3 / correlation[:, :1]
    cepstra = np.clip(bands @ cosines, -_MOST, _MOST)
    products = cepstra[:, pairs[0]] * cepstra[:, pairs[1]]
    features.append(np.concatenate([bands, pitch, products], axis=1))
  return features


@functools.cache
def _tables():
  """Mel bands, lags in samples at twice the highest frequency, and cosines."""
  bank = dsp.mel_filterbank(
    _NUM_BANDS,
    n_fft=round(4 * _FRAME_S * _HIGH_HZ),
    sample_rate_hz=2 * _HIGH_HZ,
    low_hz=_LOW_HZ,
    linear_in="mel",
  )
  bank = bank / bank.sum(axis=0)
  lags = 2 * _HIGH_HZ / np.geomspace(*_PITCH_HZ, _NUM_LAGS)
  number = np.arange(1, _NUM_CEPSTRA + 1)
  place = (np.arange(_NUM_BANDS)[:, np.newaxis] + 0.5) / _NUM_BANDS
  cosines = np.sqrt(2 * number / _NUM_BANDS) * np.cos(np.pi * number * place)
  return bank, lags, cosines / _CEPSTRUM
