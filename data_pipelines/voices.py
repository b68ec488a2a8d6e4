"""The built-in corpus: procedural voices with words, no files needed.

Each talker has a pitch, a vocal tract and a manner of speaking of their own;
each utterance is drawn from a grammar of some ninety words and rendered by a
source-filter model when it is read. A row is a pure function of the seed, the
split and the row's own number, whatever the size of the corpus and the sample
rate it is heard at.
"""

import threading

import numpy as np

from data_pipelines._lexicon import PRONUNCIATIONS
from data_pipelines._talkers import PITCH_RANGE_HZ, Talker, draw_talker
from data_pipelines._utterances import compose, make_tracks
from data_pipelines._vocal_tract import render
from data_pipelines.table import Corpus

__all__ = [
  "PITCH_RANGE_HZ",
  "PRONUNCIATIONS",
  "SPLITS",
  "Talker",
  "make_voices",
  "talker_of",
]

#: Splits have no talker in common.
SPLITS = ("train", "valid", "test")

# What a generator is for; part of its seed.
_TALKER, _UTTERANCE = 0, 1


def talker_of(*, seed: int, split: str, speaker: int) -> Talker:
  """The talker with a number.

  Args:
    seed: Seed of the corpus.
    split: One of `SPLITS`.
    speaker: Number of the talker within the split, from 0.

  Returns:
    What is particular to the talker.

  Example:
    >>> talker = talker_of(seed=0, split="train", speaker=3)
    >>> talker == talker_of(seed=0, split="test", speaker=3)
    False
  """
  return draw_talker(_generator(seed, split, _TALKER, speaker))


def _generator(seed, split, *place):
  return np.random.default_rng((seed, SPLITS.index(split), *place))


class _Renderer:
  """Reads a row by synthesising it."""

  def __init__(self, *, seed, split, rate_hz, longest_s, cache_bytes):
    self._seed = seed
    self._split = split
    self._rate_hz = rate_hz
    self._longest_s = longest_s
    self._free_bytes = cache_bytes
    self._cache = {}
    self._lock = threading.Lock()

  def compose(self, speaker, number):
    """Words and timing of an utterance, and the generator to go on with."""
    rng = _generator(self._seed, self._split, _UTTERANCE, speaker, number)
    talker = talker_of(seed=self._seed, split=self._split, speaker=speaker)
    return compose(talker, rng, self._longest_s), talker, rng

  def num_samples(self, utterance):
    """Samples of an utterance; all of it fits in."""
    return int(np.floor(utterance.duration_s * self._rate_hz))

  def _render(self, path, start, length):
    utterance, talker, rng = self.compose(*map(int, path.split("-")[-2:]))
    num_samples = self.num_samples(utterance)
    return render(
      make_tracks(utterance, talker, rng),
      talker,
      rng,
      rate_hz=self._rate_hz,
      num_samples=num_samples,
      start=start,
      length=num_samples - start if length is None else length,
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
  num_speakers: int,
  seed: int = 0,
  sample_rate_hz: int = 8000,
  split: str = "train",
  utterances_per_speaker: int = 10,
  utterance_s: float = 4.0,
  cache_mb: float = 0.0,
) -> Corpus:
  """A corpus of procedural voices.

  Signals have a natural level, about -26 dB root mean square in vowels, and
  lie in [-1, 1]. Talkers and utterances are numbered: a larger corpus of the
  same seed and split begins with the same talkers, each with the same
  utterances. The words and timing do not depend on the sample rate.

  Args:
    num_speakers: Number of talkers.
    seed: Seed of every draw.
    sample_rate_hz: Sample rate, 8000 to 48000.
    split: One of `SPLITS`. No talker is in two splits.
    utterances_per_speaker: Number of rows of each talker.
    utterance_s: Longest duration of an utterance, at least 1.5 seconds; most
      are up to half a second shorter, as no word is cut.
    cache_mb: Keep this much synthesised signal in memory, so that the rows
      read first are not synthesised again. None is kept by default.

  Returns:
    The corpus, rows in the order of talkers, with the words as its text.

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
  if num_speakers < 1 or utterances_per_speaker < 1:
    raise ValueError(
      "num_speakers and utterances_per_speaker must be at least 1, got"
      f" {num_speakers} and {utterances_per_speaker}"
    )
  if seed < 0:
    raise ValueError(f"seed must not be negative, got {seed}")
  if not 8000 <= sample_rate_hz <= 48000:
    raise ValueError(
      f"sample_rate_hz must be in 8000 to 48000, got {sample_rate_hz}"
    )
  if utterance_s < 1.5:
    raise ValueError(f"utterance_s must be at least 1.5, got {utterance_s}")
  renderer = _Renderer(
    seed=seed,
    split=split,
    rate_hz=sample_rate_hz,
    longest_s=utterance_s,
    cache_bytes=int(cache_mb * 2**20),
  )
  names, lengths, texts = [], [], []
  for speaker in range(num_speakers):
    for number in range(utterances_per_speaker):
      utterance, _, _ = renderer.compose(speaker, number)
      names.append(f"voice-{split}-{speaker:05d}-{number:04d}")
      lengths.append(renderer.num_samples(utterance))
      texts.append(utterance.text)
  num_rows = len(names)
  return Corpus(
    path=names,
    start=np.zeros(num_rows),
    length=lengths,
    rate_hz=np.full(num_rows, sample_rate_hz),
    speaker=np.repeat(np.arange(num_speakers), utterances_per_speaker),
    text=texts,
    speakers=tuple(
      f"voice-{split}-{speaker:05d}" for speaker in range(num_speakers)
    ),
    reader=renderer,
  )
