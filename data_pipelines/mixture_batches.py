"""Batches of mixtures that exist already: files, or a fixed list.

A batch holds "index" uint32 [B] (the row of the corpus or list; in training
the number of the example), "mixture" float32 [B, T], "reference" float32
[B, S, T], "length" int32 [B], "mask" bool [B], and "noise" float32 [B, T] if
the corpus has it.
"""

from __future__ import annotations

import functools
from typing import Protocol

import numpy as np

from data_pipelines import sampling
from data_pipelines.crops import Tolerance, read_crop
from data_pipelines.files import CorpusError
from data_pipelines.stream import Batch, Stream, StreamIterator, check_hosts


class Mixtures(Protocol):
  """What is read here: a `PremixedCorpus`, or an opened mixture list."""

  @property
  def root(self) -> str:
    """Folder of the files."""
    ...

  @property
  def name(self) -> np.ndarray:
    """Name of each mixture."""
    ...

  @property
  def length(self) -> np.ndarray:
    """Samples of each mixture at `rate_hz`."""
    ...

  @property
  def rate_hz(self) -> np.ndarray:
    """Sample rate of each mixture."""
    ...

  @property
  def num_sources(self) -> int:
    """Sources in each mixture."""
    ...

  @property
  def has_noise(self) -> bool:
    """Whether `read` returns the noise as well."""
    ...

  def __len__(self) -> int:
    """Number of mixtures."""
    ...

  def read(
    self, row: int, start: int = 0, length: int | None = None
  ) -> np.ndarray:
    """Mixture, sources and noise, `[1 + S (+ 1), length]`."""
    ...


# Streams of draws.
_ROW, _START = range(2)


def premixed_train_batches(
  corpus: Mixtures,
  *,
  batch_size: int,
  crop_length: int,
  sample_rate_hz: int,
  seed: int,
  start_step: int = 0,
  process_index: int = 0,
  process_count: int = 1,
  max_broken_files: int = 100,
  num_threads: int | None = None,
) -> StreamIterator:
  """Endless batches of crops of mixtures, all of them once an epoch.

  Args:
    corpus: The mixtures. One shorter than the crop is followed by zeros.
    batch_size: Examples of a step, over all hosts.
    crop_length: Samples of each crop, at `sample_rate_hz`.
    sample_rate_hz: Rate that everything is resampled to.
    seed: Seed of every draw.
    start_step: The first step, for going on with a run.
    process_index: Number of this host.
    process_count: Number of hosts.
    max_broken_files: How many mixtures may turn out broken, and be replaced
      by others, before the run is stopped.
    num_threads: Batches read at a time; None is one a core.

  Returns:
    The batches from `start_step` on.

  Raises:
    CorpusError: While iterating, if too many files are broken.
    ValueError: If an option is out of range.
  """
  local = check_hosts(batch_size, process_index, process_count)
  if crop_length < 1 or start_step < 0:
    raise ValueError(
      f"crop_length {crop_length} must be positive and start_step"
      f" {start_step} not negative"
    )
  tolerance = Tolerance(max_broken_files)

  def read_example(first_row: int, index: int) -> np.ndarray:
    row = first_row

    def read(attempt):
      nonlocal row
      if attempt:
        row = int(sampling.below(len(corpus), seed, index, _ROW, attempt))
      return _crop(
        corpus,
        row,
        length=crop_length,
        sample_rate_hz=sample_rate_hz,
        share=float(sampling.uniform(seed, index, _START, attempt)),
      )

    return tolerance.first_readable(read, lambda _: corpus.name[row])

  def read(step: int) -> Batch:
    first = step * batch_size + process_index * local
    index = np.arange(first, first + local)
    rows = sampling.shuffle(index, size=len(corpus), seed=seed)
    crops = [
      read_example(int(row), int(i)) for row, i in zip(rows, index, strict=True)
    ]
    length = np.array([crop.shape[-1] for crop in crops], dtype=np.int32)
    parts = np.stack(
      [
        np.pad(crop, ((0, 0), (0, crop_length - crop.shape[-1])))
        for crop in crops
      ]
    )
    return _batch(corpus, index, parts, length, np.ones(local, dtype=bool))

  return iter(
    Stream(read, first=start_step, stop=None, num_threads=num_threads)
  )


def premixed_eval_batches(
  corpus: Mixtures,
  *,
  batch_size: int,
  sample_rate_hz: int,
  length_multiple: int,
  max_length: int | None = None,
  process_index: int = 0,
  process_count: int = 1,
  num_threads: int | None = None,
) -> Stream:
  """Whole mixtures, every one once, those of one length together.

  A mixture is cut down to a multiple of `length_multiple` and never padded:
  zeros would count in a network's normalisation over time. A batch holds one
  length only, so a compiled function meets about as many shapes as there are
  multiples up to the longest mixture. A mixture shorter than one multiple
  keeps its length.

  Args:
    corpus: The mixtures, or a `mixture_lists.OpenedList`.
    batch_size: Examples of a batch, over all hosts. A batch that is not full
      repeats its last example with "mask" False.
    sample_rate_hz: Rate that everything is resampled to.
    length_multiple: See above; half a second to two seconds work well.
    max_length: Cut down to this at least, to bound memory.
    process_index: Number of this host.
    process_count: Number of hosts.
    num_threads: Batches read at a time; None is one a core.

  Returns:
    The batches, to be iterated as often as wanted, with a length; "index" is
    the row of the corpus.

  Raises:
    CorpusError: While iterating, if a file is broken.
    ValueError: If an option is out of range.
  """
  local = check_hosts(batch_size, process_index, process_count)
  if length_multiple < 1 or (max_length or length_multiple) < length_multiple:
    raise ValueError(
      f"length_multiple {length_multiple} must be positive and at most"
      f" max_length ({max_length})"
    )
  if not len(corpus):
    raise CorpusError(f"{corpus.root}: no mixture to evaluate on")
  length = corpus.length * sample_rate_hz // corpus.rate_hz
  if max_length is not None:
    length = np.minimum(length, max_length)
  whole = length // length_multiple * length_multiple
  length = np.where(whole > 0, whole, np.maximum(length, 1))
  groups = []
  for value in np.unique(length):
    rows = np.flatnonzero(length == value)
    groups += [
      rows[i : i + batch_size] for i in range(0, len(rows), batch_size)
    ]

  def read(step: int) -> Batch:
    rows = groups[step]
    mask = np.arange(batch_size) < len(rows)
    rows = np.pad(rows, (0, batch_size - len(rows)), mode="edge")
    here = slice(process_index * local, (process_index + 1) * local)
    rows, mask = rows[here], mask[here]
    crops = {
      row: _crop(
        corpus,
        int(row),
        length=int(length[row]),
        sample_rate_hz=sample_rate_hz,
        share=0.0,
      )
      for row in set(rows.tolist())
    }
    parts = np.stack([crops[row] for row in rows.tolist()])
    return _batch(corpus, rows, parts, length[rows].astype(np.int32), mask)

  return Stream(read, first=0, stop=len(groups), num_threads=num_threads)


def _crop(corpus, row: int, *, length: int, sample_rate_hz: int, share: float):
  """The same crop of a mixture and all its parts, `[1 + S (+ 1), T]`."""
  return read_crop(
    functools.partial(corpus.read, row),
    int(corpus.length[row]),
    rate_hz=float(corpus.rate_hz[row]),
    target_rate_hz=sample_rate_hz,
    length=length,
    share=share,
  )


def _batch(corpus, index, parts, length, mask) -> Batch:
  batch = {
    "index": (index % 2**32).astype(np.uint32),
    "mixture": np.ascontiguousarray(parts[:, 0]),
    "reference": np.ascontiguousarray(parts[:, 1 : 1 + corpus.num_sources]),
    "length": length,
    "mask": mask,
  }
  if corpus.has_noise:
    batch["noise"] = np.ascontiguousarray(parts[:, -1])
  return batch
