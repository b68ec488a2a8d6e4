"""Segments of a recording that is read once, cut where they are too long."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxsep.inference._separate import checked

# Where a segment is cut, so much of the longest part has the least energy:
# 0.2 of 20 s.
_QUIET_SHARE = 100


class Part(NamedTuple):
  """Samples that are recognised at once, and where they begin."""

  start: int
  samples: np.ndarray


class Reading:
  """A recording that is read once, of which segments are taken in order."""

  def __init__(self, blocks):
    self._kept, self._start, self._end = [], 0, 0
    self.heard = self._read(blocks)

  def _read(self, blocks) -> Iterator[np.ndarray]:
    for block in checked(blocks):
      self._kept.append(block)
      self._end += len(block)
      yield block

  def take(self, start, end):
    """The samples of a segment; what is before it is forgotten."""
    while self._end < end and next(self.heard, None) is not None:
      pass
    if not self._start <= start < end <= self._end:
      raise ValueError(
        f"the segment from sample {start} to {end} is empty, not within the"
        f" {self._end} samples, or begins before the one before it"
      )
    if len(self._kept) > 1:
      self._kept = [np.concatenate(self._kept)]
    self._kept[0] = self._kept[0][start - self._start :]
    self._start = start
    return self._kept[0][: end - start].copy()

  def num_samples(self):
    """Of the whole recording, which is read to its end."""
    for _ in self.heard:
      self._kept.clear()
    return self._end


def cut(part, longest):
  """Parts of at most `longest` samples, cut at the quietest places."""
  quiet = longest // _QUIET_SHARE
  start, samples = part
  while len(samples) > longest:
    # The rest is not short either: a word needs those around it.
    first, last = longest // 2, min(longest, len(samples) - longest // 4)
    energy = np.cumsum(np.square(samples[first:last], dtype=float))
    place = int(np.argmin(energy[quiet:] - energy[:-quiet]))
    place += first + quiet // 2
    yield Part(start, samples[:place])
    start, samples = start + place, samples[place:]
  yield Part(start, samples)
