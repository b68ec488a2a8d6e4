"""Sentences, words and phonemes of the built-in voices: `lexicon.toml`."""

import functools
import pathlib
import tomllib

import numpy as np

_DATA = tomllib.loads(
  pathlib.Path(__file__).with_name("lexicon.toml").read_text(encoding="utf-8")
)

#: The columns of a segment.
COLUMNS = tuple(_DATA["columns"].split())
#: Sentences as kinds of words; a bar allows a pause.
SENTENCES = tuple(tuple(line.split()) for line in _DATA["sentences"])
#: Words of each kind.
KINDS = {kind: tuple(words) for kind, words in _DATA["words"].items()}
#: Word -> phonemes, the stressed vowel marked with a stroke.
PRONUNCIATIONS = {
  word: tuple(phonemes.split())
  for words in _DATA["words"].values()
  for word, phonemes in words.items()
}
_SEGMENTS = {
  name: np.array(rows, np.float64) for name, rows in _DATA["phonemes"].items()
}


@functools.cache
def word_segments(word):
  """Targets [segments, columns] and stress [segments] of a word or phoneme."""
  targets, stress = [], []
  for phoneme in PRONUNCIATIONS.get(word, (word,)):
    rows = _SEGMENTS[phoneme.lstrip("'")]
    targets.append(rows)
    stress += [float(phoneme.startswith("'"))] * len(rows)
  return np.concatenate(targets), np.array(stress)
