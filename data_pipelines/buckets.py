"""Buckets of lengths for `batches`: which ones waste the least padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Of more different lengths, so many quantiles are compared.
_MAX_CANDIDATES = 1024


def bucket_lengths(
  lengths: np.ndarray | Sequence[int], num_buckets: int = 8
) -> tuple[int, ...]:
  """The lengths of buckets that waste the least padding.

  Each length is padded to the shortest bucket that holds it. Of up to 1024
  different lengths the choice is the best there is, by dynamic programming.

  Args:
    lengths: Lengths of all examples, integers `[N]` in any order.
    num_buckets: Number of buckets, at least 1; fewer are made where there are
      fewer different lengths.

  Returns:
    The lengths of the buckets, ascending; the last is the longest length.

  Raises:
    ValueError: If there is no length or no bucket.

  Example:
    >>> bucket_lengths([3, 9, 10, 4, 10], num_buckets=2)
    (4, 10)
  """
  ordered = np.sort(np.asarray(lengths, dtype=np.int64))
  if not len(ordered) or num_buckets < 1:
    raise ValueError(
      f"{len(ordered)} lengths in {num_buckets} buckets, expected at least 1"
    )
  places = np.linspace(0, len(ordered) - 1, min(len(ordered), _MAX_CANDIDATES))
  ends = np.unique(ordered[places.round().astype(np.int64)])
  # How many examples the first i candidates hold.
  count = np.searchsorted(ordered, np.append(0, ends), "right")
  # Padded samples of a bucket that begins after candidate i and ends with j.
  size = np.where(
    np.arange(len(ends) + 1)[:, None] <= np.arange(len(ends)),
    ends.astype(np.float64) * (count[1:] - count[:, None]),
    np.inf,
  )
  # Padded samples of all examples up to a candidate, with the buckets so far.
  total = np.append(0.0, np.full(len(ends), np.inf))
  begins = []
  for _ in range(min(num_buckets, len(ends))):
    sums = total[:, None] + size
    begins.append(sums.argmin(axis=0))
    total = np.append(np.inf, sums.min(axis=0))
  bounds, end = [], len(ends)
  for begin in reversed(begins):
    bounds.append(int(ends[end - 1]))
    end = int(begin[end - 1])
  return tuple(reversed(bounds))
