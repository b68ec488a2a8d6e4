"""Recordings of two speakers on which separators lose the order of outputs."""

import itertools
from collections.abc import Iterator

import numpy as np
import soxr

from data_pipelines import corpora
from experiments.harmonic_probes.pitch import average_f0

DURATION_S = 60
# Seconds of a speaker whose pitch is tracked.
_PITCH_S = 20
#: What each case is, in its row of the table.
CASES = {
  "steady": "both speak throughout",
  "15 dB softer": "both 15 dB softer from 37 s on",
  "30 dB softer": "both 30 dB softer from 37 s on",
  "one silent": "the second silent from 14 to 34 s",
  "handover": "the first for 20 s, silence for 20 s, the second",
  "turns": "turns of 2 to 6 s, pauses of 0.3 to 1.5 s, none speaks at once",
  "turns and fall": "turns for 24 s, 8 s of silence, then both, 15 dB softer",
  "levels": "the first changes its level by up to 10 dB every 5 s",
  "noise": "with pink noise 10 dB below",
  "same person": "two parts of a recording of one person",
}


def read_speakers(spec: str, num_speakers: int, rate_hz: int) -> dict:
  """A minute of each of some speakers, RMS 1, repeated if there is less."""
  voices = (
    {}
    if spec != "voices"
    else {
      "split": "test",
      "num_speakers": num_speakers,
      "utterances_per_speaker": 15,
      "sample_rate_hz": rate_hz,
    }
  )
  corpus = corpora.open_corpus(spec, **voices)
  length = DURATION_S * rate_hz
  speakers = {}
  for code, name in enumerate(corpus.speakers[:num_speakers]):
    parts: list[np.ndarray] = []
    for row in np.flatnonzero(corpus.speaker == code):
      if sum(map(len, parts)) < length:
        own_hz = int(corpus.rate_hz[row])
        part = soxr.resample(corpus.read(int(row)), own_hz, rate_hz)
        parts.append(part / max(part.std(), 1e-9))
    speech = np.resize(np.concatenate(parts), length)
    speakers[name] = speech / speech.std()
  return speakers


def pitch_distances(speakers: dict, rate_hz: int) -> dict:
  """Semitones between the median F0 of the speakers of each pair."""
  signals = np.stack([s[: _PITCH_S * rate_hz] for s in speakers.values()])
  f0 = average_f0(signals, sample_rate_hz=rate_hz, num_processes=0)[:, 1]
  semitones = dict(zip(speakers, 12 * np.log2(f0), strict=True))
  return {
    (one, other): abs(semitones[one] - semitones[other])
    for one, other in itertools.combinations(speakers, 2)
  }


def make_cases(
  first: np.ndarray, second: np.ndarray, rate_hz: int, seed: int
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
  """The cases of a pair of speakers.

  Args:
    first: A minute of the first speaker, RMS 1, shape `[T]`.
    second: One of the second.
    rate_hz: Sampling rate.
    seed: Of the turns, the levels, and the noise.

  Yields:
    Name, references `[2, T]` and mixture `[T]`.
  """
  rng = np.random.default_rng(seed)
  both = np.stack([first, second])
  time_s = np.arange(both.shape[1]) / rate_hz
  soft = time_s >= 37
  silence = np.zeros_like(time_s)
  turns = _turns(time_s, rng)
  fall = np.where(time_s < 24, turns, (time_s >= 32) * 10 ** (-15 / 20))
  steps_db = rng.uniform(-10, 10, DURATION_S // 5 + 1)
  levels_db = np.interp(time_s, 5.0 * np.arange(len(steps_db)), steps_db)
  gains = {
    "steady": 1.0,
    "15 dB softer": np.where(soft, 10 ** (-15 / 20), 1),
    "30 dB softer": np.where(soft, 10 ** (-30 / 20), 1),
    "one silent": np.stack([1 + silence, (time_s < 14) | (time_s >= 34)]),
    "handover": np.stack([time_s < 20, time_s >= 40]),
    "turns": turns,
    "turns and fall": fall,
    "levels": np.stack([10 ** (levels_db / 20), 1 + silence]),
    "noise": 1.0,
  }
  for name, gain in gains.items():
    references = gain * both
    mixture = references.sum(axis=0)
    if name == "noise":
      mixture = mixture + 10 ** (-10 / 20) * np.sqrt(2) * _pink(mixture, rng)
    yield name, references, mixture
  other = np.roll(first, len(first) // 2)
  yield "same person", np.stack([first, other]), first + other


def _turns(time_s, rng):
  """Gains of 0 and 1, `[2, T]`, of speakers who take turns."""
  gains, start, speaker = np.zeros((2, len(time_s))), 0.0, 0
  while start < time_s[-1]:
    end = start + rng.uniform(2, 6)
    gains[speaker] += (time_s >= start) & (time_s < end)
    start, speaker = end + rng.uniform(0.3, 1.5), 1 - speaker
  return gains


def _pink(like, rng):
  """Noise of RMS 1 with equal power in each octave."""
  spectrum = np.fft.rfft(rng.normal(size=len(like)))
  noise = np.fft.irfft(
    spectrum / np.sqrt(1 + np.arange(len(spectrum))), len(like)
  )
  return noise / noise.std()
