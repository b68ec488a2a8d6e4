"""Reads crops at the rate and speed that are wanted, and nothing else."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import numpy as np
import soxr
from absl import logging

from data_pipelines.files import CorpusError

# Output samples that are resampled on both sides of a crop and thrown away,
# where the recording has them: the reach of soxr's HQ filter, so that a crop
# does not begin and end as if silence surrounded it.
_MARGIN = 64
# Files in a row that a source may draw before the corpus is taken for lost.
_MAX_ATTEMPTS = 10


def read_crop(
  read: Callable[[int, int], np.ndarray],
  total: int,
  *,
  rate_hz: float,
  target_rate_hz: int,
  length: int,
  share: float,
) -> np.ndarray:
  """A crop of a recording at another rate.

  Played at `speed`, a recording has `speed` times its rate: give that rate
  to change the speed in the same single resampling.

  Args:
    read: Reads `(first sample, number of samples)`, shape `[..., T]`.
    total: Samples that the recording has.
    rate_hz: Its rate.
    target_rate_hz: The rate of the crop.
    length: Samples of the crop.
    share: Where it begins, as a share in [0, 1) of the possible places.

  Returns:
    float32, shape `[..., length]`, or shorter if the recording is; only the
    samples of the crop and a few around it are read.

  Example:
    >>> signal = np.ones(16000, np.float32)
    >>> crop = read_crop(
    ...   lambda start, length: signal[start : start + length],
    ...   len(signal),
    ...   rate_hz=16000 * 1.1,  # Ten percent faster,
    ...   target_rate_hz=8000,  # and at half the rate.
    ...   length=4000,
    ...   share=0.5,
    ... )
    >>> crop.shape
    (4000,)
  """
  ratio = rate_hz / target_rate_hz
  if ratio == 1:
    length = min(length, total)
    return read(int(share * (total - length + 1)), length)
  # The small number makes up for a ratio that is not exact in binary.
  length = min(length, max(math.floor(total / ratio + 1e-6), 1))
  needed = min(math.ceil(length * ratio), total)
  start = int(share * (total - needed + 1))
  margin = math.ceil(_MARGIN * ratio)
  before = min(margin, start)
  after = min(margin, total - start - needed)
  samples = read(start - before, before + needed + after)
  # soxr wants time first; it is exact about time: sample 0 stays sample 0.
  resampled = soxr.resample(samples.T, rate_hz, target_rate_hz, "HQ").T
  skip = round(before / ratio)
  crop = resampled[..., skip : skip + length]
  if (missing := length - crop.shape[-1]) > 0:
    # soxr may round away the last sample of a recording.
    crop = np.pad(crop, [(0, 0)] * (crop.ndim - 1) + [(0, missing)])
  return crop


class Tolerance:
  """How many broken files a run puts up with.

  Which examples are replaced depends on the files alone, so a run that is
  resumed meets the same replacements. Safe to use from threads.
  """

  def __init__(self, max_broken_files: int):
    """Tolerates this many different files; 0 raises at the first."""
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
      "%s; another one takes its place (%d such files so far)",
      error,
      count,
    )

  def first_readable(
    self,
    read: Callable[[int], np.ndarray],
    path_of: Callable[[int], str],
  ) -> np.ndarray:
    """What the first attempt that meets no broken file reads.

    Args:
      read: Reads attempt 0, 1, 2 ...
      path_of: The path that the last attempt read; called after an error.

    Returns:
      What `read` returned.

    Raises:
      CorpusError: If too many files are broken, or all attempts fail.
    """
    for attempt in range(_MAX_ATTEMPTS):
      try:
        return read(attempt)
      except CorpusError as error:
        self.forgive(path_of(attempt), error)
        last = error
    raise CorpusError(
      f"{_MAX_ATTEMPTS} files in a row could not be read; the last: {last}"
    )
