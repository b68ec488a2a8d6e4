"""A corpus as a table: one row an utterance, one NumPy array a column."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from absl import logging

from data_pipelines.files import CorpusError, Reader, read_file, read_names

# Given as anything array-like, kept as a NumPy array of the column's dtype.
Column = Any


def _few(names: Iterable[str], limit: int = 3) -> str:
  """The first names and how many more there are."""
  names = list(names)
  more = len(names) - limit
  return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
  """A table of utterances, and how to read one.

  All columns have one entry a row. Rows are sorted by path and speakers by
  name, so the table is the same on every machine that holds the files.

  Attributes:
    path: Path of each row relative to `root` (objects of type str). It may
      be any name that `reader` understands.
    start: First sample of the utterance in its file, int64.
    length: Samples of the utterance at `rate_hz`, int64.
    rate_hz: Sample rate of the file, int32.
    speaker: Speaker of the utterance, an index into `speakers`, int32.
    text: Transcript, "" where there is none (objects of type str).
    speakers: Names of the speakers.
    root: Put in front of every path when it is read.
    reader: Reads `(full path, first sample, number of samples)` of a row;
      the default opens an audio file. Must be safe to call from threads.
    report: What the scan found (`scanning.ScanReport`); None if there was no
      scan.
  """

  path: Column
  start: Column
  length: Column
  rate_hz: Column
  speaker: Column
  text: Column
  speakers: tuple[str, ...]
  root: str = ""
  reader: Reader = read_file
  report: Any = None

  def __post_init__(self):
    num_rows = len(self.path)
    for name, dtype in _COLUMNS.items():
      column = np.asarray(getattr(self, name), dtype=dtype)
      if column.shape != (num_rows,):
        raise ValueError(
          f"column {name} has shape {column.shape}, expected ({num_rows},)"
        )
      column.setflags(write=False)
      object.__setattr__(self, name, column)
    object.__setattr__(self, "speakers", tuple(self.speakers))
    if num_rows and not (
      0 <= self.speaker.min() and self.speaker.max() < len(self.speakers)
    ):
      raise ValueError(
        f"speaker indices {self.speaker.min()} to {self.speaker.max()} do"
        f" not fit {len(self.speakers)} speakers"
      )

  def __len__(self) -> int:
    """Number of utterances."""
    return len(self.path)

  @property
  def seconds(self) -> float:
    """Duration of all utterances together."""
    return float((self.length / self.rate_hz).sum())

  def full_path(self, row: int) -> str:
    """The path of a row with the root in front.

    Args:
      row: Row of the table.

    Returns:
      The path.
    """
    return os.path.join(self.root, self.path[row])

  def read(
    self, row: int, start: int = 0, length: int | None = None
  ) -> np.ndarray:
    """Samples `start` to `start + length` of an utterance, and no others.

    Args:
      row: Row of the table.
      start: First sample, counted from the beginning of the utterance.
      length: Number of samples; None reads to the end of the utterance.

    Returns:
      float32 samples, mono, at `rate_hz[row]`, shape `[length]`.

    Raises:
      CorpusError: If the file is damaged; the message names it.
      ValueError: If the utterance has no such samples.
    """
    total = int(self.length[row])
    length = total - start if length is None else length
    if start < 0 or length < 0 or start + length > total:
      raise ValueError(
        f"{self.path[row]}: samples {start} to {start + length} wanted of"
        f" an utterance of {total}"
      )
    return self.reader(
      self.full_path(row), int(self.start[row]) + start, length
    )

  def rows(self, rows) -> Corpus:
    """The table of some rows.

    Args:
      rows: Their indices, or a mask of all rows.

    Returns:
      A corpus with its speakers renumbered from 0.
    """
    columns = {name: getattr(self, name)[rows] for name in _COLUMNS}
    kept, columns["speaker"] = np.unique(
      columns["speaker"], return_inverse=True
    )
    speakers = tuple(self.speakers[i] for i in kept)
    return dataclasses.replace(self, **columns, speakers=speakers)

  def subset(
    self,
    speakers: Iterable[str] | str | os.PathLike[str] | None = None,
    exclude: Iterable[str] | str | os.PathLike[str] | None = None,
  ) -> Corpus:
    """The utterances of some speakers.

    Args:
      speakers: Names to keep, or the path of a file with one name a line;
        None keeps all. Every name must be in the corpus.
      exclude: Names to leave out, or such a file. A name that the corpus
        lacks is reported, not refused: there is nothing to leave out.

    Returns:
      A corpus with its speakers renumbered from 0.

    Raises:
      CorpusError: If a speaker to keep is missing, no name to exclude is
        known, or nothing is left.
    """
    known = set(self.speakers)
    kept = known
    if speakers is not None:
      kept = set(_names(speakers))
      if kept - known:
        raise CorpusError(
          f"{self.root or 'the corpus'} has no speaker"
          f" {_few(sorted(kept - known))}; it has {_few(self.speakers)}"
        )
    if exclude is not None:
      unwanted = set(_names(exclude))
      if unwanted and not unwanted & known:
        raise CorpusError(
          f"{self.root or 'the corpus'} has none of the speakers to"
          f" exclude ({_few(sorted(unwanted))}); it has"
          f" {_few(self.speakers)}"
        )
      if unwanted - known:
        logging.warning(
          "speakers to exclude that %s does not have: %s",
          self.root or "the corpus",
          _few(sorted(unwanted - known)),
        )
      kept = kept - unwanted
    if not kept:
      raise CorpusError(f"no speaker of {self.root or 'the corpus'} is left")
    wanted = np.array([name in kept for name in self.speakers])
    return self.rows(wanted[self.speaker])


def concatenate(corpora: Iterable[Corpus]) -> Corpus:
  """Several corpora as one; a speaker of the same name is the same speaker.

  Args:
    corpora: Corpora that are read in the same way.

  Returns:
    All rows, in the order given, with paths from the deepest common folder
    where all have a folder, and a report of all that was found.

  Raises:
    ValueError: If there is no corpus, or they have different readers.
  """
  corpora = list(corpora)
  if not corpora:
    raise ValueError("no corpus to concatenate")
  if any(corpus.reader is not corpora[0].reader for corpus in corpora):
    raise ValueError("corpora with different readers cannot be concatenated")
  roots = [corpus.root for corpus in corpora]
  root = ""
  if all(roots) and len({os.path.isabs(root) for root in roots}) == 1:
    root = os.path.commonpath(roots)
  columns = {
    name: np.concatenate([getattr(corpus, name) for corpus in corpora])
    for name in _COLUMNS
  }
  if any(roots):
    paths = [
      corpus.full_path(row) for corpus in corpora for row in range(len(corpus))
    ]
    if root:
      paths = [os.path.relpath(path, root) for path in paths]
    columns["path"] = np.array(paths, dtype=object)
  speakers = sorted({name for corpus in corpora for name in corpus.speakers})
  number = {name: i for i, name in enumerate(speakers)}
  columns["speaker"] = np.concatenate(
    [
      np.array([number[name] for name in corpus.speakers])[corpus.speaker]
      for corpus in corpora
    ]
  )
  reports = [c.report for c in corpora if c.report is not None]
  return dataclasses.replace(
    corpora[0],
    **columns,
    speakers=tuple(speakers),
    root=root,
    report=reports[0].joined(*reports[1:]) if reports else None,
  )


_COLUMNS = {
  "path": object,
  "start": np.int64,
  "length": np.int64,
  "rate_hz": np.int32,
  "speaker": np.int32,
  "text": object,
}


def _names(names) -> list[str]:
  if isinstance(names, (str, os.PathLike)):
    return read_names(names)
  return list(names)
