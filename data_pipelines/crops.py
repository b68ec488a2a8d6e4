"""Reads crops at the rate and speed that are wanted, and nothing else."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Iterable

import numpy as np
import soxr
from absl import logging

from data_pipelines.files import CorpusError
from data_pipelines.table import Corpus

# Output samples around a crop that are resampled and dropped: the reach of
# soxr's HQ filter, which would otherwise meet zeros.
_MARGIN = 64
# Broken files in a row after which reading stops.
_MAX_ATTEMPTS = 10


class Tolerance:
  """Counts broken files up to a limit; thread-safe.

  Replacements depend on the files alone, so they are the same after a resume.
  """

  def __init__(self, max_broken_files: int):
    """Takes the number of broken files that a run tolerates; 0 is none."""
    self.max_broken_files = max_broken_files
    self.broken: dict[str, str] = {}
    self._lock = threading.Lock()

  def forgive(self, path: str, error: CorpusError) -> None:
    """Notes a broken file, or raises the error if it is one too many."""
    if not self.max_broken_files:
      raise error
    with self._lock:
      if path in self.broken:
        return
      self.broken[path] = str(error)
      count = len(self.broken)
    if count > self.max_broken_files:
      raise CorpusError(
        f"{count} files could not be read, more than max_broken_files ="
        f" {self.max_broken_files}; the last: {error}"
      )
    logging.warning(
      "%s; the next one takes its place (%d such files so far)", error, count
    )

  def first_readable(
    self,
    corpus: Corpus,
    rows: Iterable[int],
    read: Callable[[int], np.ndarray],
  ) -> tuple[int, np.ndarray]:
    """The first of `rows` that is not broken, and what `read` gives."""
    tried, last = 0, None
    for row in itertools.islice(rows, _MAX_ATTEMPTS):
      try:
        return row, read(row)
      except CorpusError as error:
        self.forgive(corpus.full_path(row), error)
        tried, last = tried + 1, error
    raise CorpusError(
      f"{tried} files in a row could not be read; the last: {last}"
    )


def read_row(
  corpus: Corpus,
  row: int,
  *,
  sample_rate_hz: int,
  length: int | None = None,
  share: float = 0.0,
  speed: float = 1.0,
) -> np.ndarray:
  """A crop [T] of a row, or [P, T] of stacked parts, at a rate.

  Only the crop and a few samples around it are read. It is shorter than
  `length` if the recording is; None reads all. `share` in [0, 1) is its place.
  At another speed, pitch and formants move too, in the same resampling.
  """
  rate_hz = float(corpus.rate_hz[row]) * speed
  ratio, total = rate_hz / sample_rate_hz, int(corpus.length[row])
  most = resampled_length(total, rate_hz, sample_rate_hz)
  length = most if length is None else min(length, most)
  if ratio == 1:
    return corpus.read(row, int(share * (total - length + 1)), length)
  needed = min(math.ceil(length * ratio), total)
  start = int(share * (total - needed + 1))
  margin = math.ceil(_MARGIN * ratio)
  before = min(margin, start)
  after = min(margin, total - start - needed)
  samples = corpus.read(row, start - before, before + needed + after)
  # soxr takes time first, and sample 0 stays sample 0.
  resampled = soxr.resample(samples.T, rate_hz, sample_rate_hz, "HQ").T
  skip = round(before / ratio)
  # soxr may round away the last sample of a recording.
  return pad_to(resampled[..., skip : skip + length], length)


def resampled_length(total: int, rate_hz: float, target_rate_hz: float) -> int:
  """Samples of a whole recording after `read_row`."""
  # The small number is for ratios that are not exact in binary.
  return max(math.floor(total / (rate_hz / target_rate_hz) + 1e-6), 1)


def pad_to(samples: np.ndarray, length: int) -> np.ndarray:
  """The samples, followed by zeros on the last axis up to a length."""
  if not (missing := length - samples.shape[-1]):
    return samples
  return np.pad(samples, [(0, 0)] * (samples.ndim - 1) + [(0, missing)])
