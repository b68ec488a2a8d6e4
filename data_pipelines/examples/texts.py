"""Texts as tokens, and utterances with their tokens."""

from __future__ import annotations

import array
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from absl import logging

from data_pipelines.buckets import bucket_lengths
from data_pipelines.crops import read_row, resampled_length
from data_pipelines.examples.ingredients import (
  check_positive,
  check_utterances,
)
from data_pipelines.files import CorpusError
from data_pipelines.table import Corpus

Tokenize = Callable[[str], Sequence[int]]
# Utterances with more tokens per second than all but this share of them go to a
# longer bucket, so that the others' tokens are padded less.
_DENSE_SHARE = 0.01


class Tokens:
  """The tokens of many texts in little memory: `tokens[i]` int32 [U]."""

  def __init__(self, texts: Iterable[str], tokenize: Tokenize):
    """Takes the texts, of which each is made tokens once."""
    values, ends = array.array("i"), array.array("q", [0])
    for text in texts:
      values.extend(tokenize(text) if text.strip() else ())
      ends.append(len(values))
    self._values = np.asarray(values, np.int32)
    self._ends = np.asarray(ends, np.int64)

  @property
  def length(self) -> np.ndarray:
    """Tokens of each text, int64."""
    return np.diff(self._ends)

  def __getitem__(self, text: int) -> np.ndarray:
    """The tokens of a text; none of an empty one."""
    return self._values[self._ends[text] : self._ends[text + 1]]


class Spoken:
  """Utterances with text at each speed, from the shortest to the longest.

  A row is an utterance at one speed. What has no text or is too long is left
  out, which one warning says. Each bucket holds the rows up to its length, so
  that any of them may take the place of a broken file.

  Attributes:
    corpus: The utterance of each row.
    length: Samples of each row; more, where it has unusually many tokens, and
      at least so many that there are `num_sources` speakers.
    buckets: Lengths of the buckets.
    bucket: The bucket of each row.
    bucket_size: How many rows fit into each bucket.
    tokens_per_sample: Places for tokens, relative to the length of a bucket.
  """

  def __init__(
    self,
    corpus: Corpus,
    *,
    tokenize: Tokenize,
    sample_rate_hz: int,
    speeds: Sequence[float],
    num_buckets: int,
    longest_s: float | None,
    num_sources: int = 1,
  ):
    """Makes the tables; the options are those of `UtteranceMixtures`."""
    check_positive(
      num_sources=num_sources,
      sample_rate_hz=sample_rate_hz,
      num_buckets=num_buckets,
    )
    if not speeds or min(speeds) <= 0:
      raise ValueError(f"speeds are {speeds}, expected some above 0")
    check_utterances(
      corpus, num_sources=num_sources, sample_rate_hz=sample_rate_hz
    )
    self._sample_rate_hz = sample_rate_hz
    self._tokens = Tokens(corpus["text"], tokenize)
    kept = _usable(corpus, self._tokens.length, min(speeds), longest_s)
    row = np.repeat(kept, len(speeds))
    speed = np.tile(np.asarray(speeds, np.float64), len(kept))
    rate_hz = corpus.rate_hz[row] * speed
    length = np.array(
      [
        resampled_length(total, rate, sample_rate_hz)
        for total, rate in zip(corpus.length[row], rate_hz, strict=True)
      ]
    )
    num_tokens = self._tokens.length[row]
    self.tokens_per_sample = float(
      np.quantile(num_tokens / length, 1 - _DENSE_SHARE)
    )
    length = np.maximum(
      length, np.ceil(num_tokens / self.tokens_per_sample).astype(np.int64)
    )
    length = np.maximum(length, _enough(corpus, row, length, num_sources))
    order = np.argsort(length, kind="stable")
    self.length, self._text = length[order], row[order]
    self._speed = speed[order]
    self.corpus = corpus.rows(self._text)
    self.buckets = bucket_lengths(self.length, num_buckets)
    self.bucket = np.searchsorted(self.buckets, self.length)
    self.bucket_size = np.searchsorted(self.length, self.buckets, "right")

  def read(self, row: int) -> np.ndarray:
    """The signal of a row, [T]."""
    return read_row(
      self.corpus,
      row,
      sample_rate_hz=self._sample_rate_hz,
      speed=float(self._speed[row]),
    )

  def tokens(self, row: int) -> np.ndarray:
    """The tokens of a row, int32 [U]."""
    return self._tokens[self._text[row]]


def _usable(corpus, num_tokens, slowest, longest_s) -> np.ndarray:
  """The utterances that have text and are not too long."""
  if not len(corpus):
    raise CorpusError(f"{corpus.title} is empty")
  no_text = num_tokens == 0
  seconds = corpus.length / (corpus.rate_hz * slowest)
  too_long = ~no_text & (seconds > (longest_s or np.inf))
  kept = np.flatnonzero(~no_text & ~too_long)
  if len(kept) < len(corpus):
    reasons = [f"{no_text.sum()} without text"] if no_text.any() else []
    if too_long.any():
      reasons.append(f"{too_long.sum()} longer than {longest_s:g} s")
    message = f"of {len(corpus)} utterances, {' and '.join(reasons)}"
    if not len(kept):
      raise CorpusError(f"{corpus.title}: {message}: none is left")
    logging.warning("%s: %s are left out", corpus.title, message)
  return kept


def _enough(corpus, row, length, num_sources) -> int:
  """The length up to which there are so many speakers."""
  shortest = np.full(len(corpus.speakers), np.iinfo(np.int64).max)
  np.minimum.at(shortest, corpus.speaker[row], length)
  enough = np.sort(shortest)[num_sources - 1]
  if enough == np.iinfo(np.int64).max:
    raise CorpusError(
      f"{corpus.title}: too few speakers with usable text for mixtures of"
      f" {num_sources} different ones"
    )
  return int(enough)
