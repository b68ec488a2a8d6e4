"""The built-in corpus: procedural voices with words, no files needed.

Each speaker has a pitch, a vocal tract and a manner of speaking; utterances
are drawn from a grammar of some ninety words and rendered by a source-filter
model when they are read. What a row says is a pure function of the seed, the
split, the speaker's number and the number of the utterance.
"""

import threading

import numpy as np

from data_pipelines._lexicon import PRONUNCIATIONS
from data_pipelines._utterances import (
  PITCH_RANGE_HZ,
  Speaker,
  compose,
  draw_speaker,
  make_tracks,
)
from data_pipelines._vocal_tract import render
from data_pipelines.table import Corpus

__all__ = [
  "PITCH_RANGE_HZ",
  "PRONUNCIATIONS",
  "SPLITS",
  "Speaker",
  "make_voices",
  "speaker_of",
]

#: Splits have no speaker in common.
SPLITS = ("train", "valid", "test")

# What a generator is for; part of its seed.
_SPEAKER, _UTTERANCE = 0, 1


def speaker_of(*, seed: int, split: str, number: int) -> Speaker:
  """The properties of a speaker.

  Args:
    seed: Seed of the corpus.
    split: One of `SPLITS`.
    number: Number of the speaker within the split, from 0.

  Returns:
    The speaker.

  Example:
    >>> speaker = speaker_of(seed=0, split="train", number=3)
    >>> speaker == speaker_of(seed=0, split="test", number=3)
    False
  """
  return draw_speaker(_generator(seed, split, _SPEAKER, number))


def _generator(seed, split, *place):
  return np.random.default_rng((seed, SPLITS.index(split), *place))


class _Renderer:
  """Synthesises a row when it is read."""

  def __init__(self, seed, split, rate_hz, longest_s, cache_bytes):
    self._seed, self._split = seed, split
    self._rate_hz, self._longest_s = rate_hz, longest_s
    self._free_bytes, self._cache = cache_bytes, {}
    self._lock = threading.Lock()

  def compose(self, who, number):
    """An utterance, its speaker, and the generator of what follows."""
    rng = _generator(self._seed, self._split, _UTTERANCE, who, number)
    speaker = speaker_of(seed=self._seed, split=self._split, number=who)
    return compose(speaker, rng, self._longest_s), speaker, rng

  def num_samples(self, utterance):
    """Samples of an utterance."""
    return int(np.floor(utterance.duration_s * self._rate_hz))

  def _render(self, path, start, length):
    utterance, speaker, rng = self.compose(*map(int, path.split("-")[-2:]))
    num_samples = self.num_samples(utterance)
    return render(
      make_tracks(utterance, speaker, rng),
      speaker,
      rng,
      rate_hz=self._rate_hz,
      num_samples=num_samples,
      start=start,
      length=num_samples if length is None else length,
    )

  def __call__(self, path, start, length):
    kept = self._cache.get(path)
    if kept is None and self._free_bytes <= 0:
      return self._render(path, start, length)
    if kept is None:
      kept = self._render(path, 0, None)
      with self._lock:
        if path not in self._cache and kept.nbytes <= self._free_bytes:
          self._cache[path] = kept
          self._free_bytes -= kept.nbytes
    return kept[start : start + length].copy()


def make_voices(
  *,
  num_speakers: int = 40,
  seed: int = 0,
  sample_rate_hz: int = 8000,
  split: str = "train",
  utterances_per_speaker: int = 10,
  utterance_s: float = 4.0,
  cache_mb: float = 0.0,
) -> Corpus:
  """A corpus of procedural voices.

  Signals lie in [-1, 1], with about -26 dB root mean square in vowels. A larger
  corpus of the same seed and split begins with the same speakers, each with
  the same utterances. Words and timing do not depend on the sample rate.

  Args:
    num_speakers: Number of speakers.
    seed: Seed of every draw.
    sample_rate_hz: Sample rate, 8000 to 48000.
    split: One of `SPLITS`. No speaker is in two splits.
    utterances_per_speaker: Number of rows of each speaker.
    utterance_s: Longest duration of an utterance, at least 1.5 seconds; most
      are up to half a second shorter, as no word is cut.
    cache_mb: Memory for synthesised rows; those read first are kept.

  Returns:
    The corpus, rows in the order of speakers, with "speaker" and "text".

  Raises:
    ValueError: If an option is out of range.

  Example:
    >>> voices = make_voices(num_speakers=2, utterances_per_speaker=3)
    >>> len(voices), voices.speakers
    (6, ('voice-train-00000', 'voice-train-00001'))
    >>> voices.read(0, start=8000, length=16000).shape
    (16000,)
  """
  if split not in SPLITS:
    raise ValueError(f"split is {split!r}, expected one of {SPLITS}")
  for name, value, low, high in (
    ("num_speakers", num_speakers, 1, np.inf),
    ("utterances_per_speaker", utterances_per_speaker, 1, np.inf),
    ("seed", seed, 0, np.inf),
    ("sample_rate_hz", sample_rate_hz, 8000, 48000),
    ("utterance_s", utterance_s, 1.5, np.inf),
  ):
    if not low <= value <= high:
      raise ValueError(f"{name} is {value}, expected {low} to {high}")
  renderer = _Renderer(
    seed, split, sample_rate_hz, utterance_s, int(cache_mb * 2**20)
  )
  names, lengths, speakers, texts = [], [], [], []
  for who in range(num_speakers):
    for number in range(utterances_per_speaker):
      utterance, _, _ = renderer.compose(who, number)
      speakers.append(f"voice-{split}-{who:05d}")
      names.append(f"{speakers[-1]}-{number:04d}")
      lengths.append(renderer.num_samples(utterance))
      texts.append(utterance.text)
  return Corpus(
    path=names,
    start=np.zeros(len(names)),
    length=lengths,
    rate_hz=np.full(len(names), sample_rate_hz),
    columns={"speaker": speakers, "text": texts},
    reader=renderer,
  )
