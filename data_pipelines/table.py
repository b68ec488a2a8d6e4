"""A corpus as a table: one row per recording, one NumPy array per column."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from absl import logging

from data_pipelines.files import CorpusError, Reader, read_file, read_names

# Given as anything array-like, kept as a NumPy array.
Column = Any


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
  """A table of recordings with named columns, and how to read one.

  A recording is an utterance, a noise, a RIR, a mixture with its sources, or
  cached features. Scanned corpora are sorted by path, so that the table is the
  same on every machine with these files.

  Attributes:
    path: Path of each row relative to `root` (objects of type str), or any
      name that `reader` understands.
    start: First sample of the recording in its file, int64.
    length: Samples of the recording at `rate_hz`, int64.
    rate_hz: Sample rate, or frame rate of cached features, int32.
    columns: Further columns by name, of str (kept as objects) or numbers,
      such as "speaker", "text" or "session".
    root: Folder that paths start from.
    title: What messages call the corpus; its folder if not given.
    reader: Reads `(full path, first sample, number of samples)` in any thread;
      gives `[T]`, or `[P, T]` of stacked parts. The default reads audio files.
    report: What the scan found (`scanning.ScanReport`), if there was one.
    parts: What the reader stacks. Mixtures have "mixture", "s1", "s2" ... and
      perhaps "noise".

  Example:
    >>> corpus = Corpus(
    ...   path=["a.wav", "b.wav"],
    ...   start=[0, 0],
    ...   length=[8000, 9000],
    ...   rate_hz=[8000, 8000],
    ...   columns={"speaker": ["bea", "ann"], "age": [31, 45]},
    ... )
    >>> corpus.speakers, corpus.speaker.tolist(), int(corpus["age"][1])
    (('ann', 'bea'), [1, 0], 45)
  """

  path: Column
  start: Column
  length: Column
  rate_hz: Column
  columns: Mapping[str, Column] = dataclasses.field(default_factory=dict)
  root: str = ""
  title: str = ""
  reader: Reader = read_file
  report: Any = None
  parts: tuple[str, ...] = ("signal",)

  def __post_init__(self):
    for name, dtype in _TYPES.items():
      column = self._checked(name, np.asarray(getattr(self, name), dtype))
      object.__setattr__(self, name, column)
    columns = {
      name: self._checked(name, _column(values))
      for name, values in self.columns.items()
    }
    object.__setattr__(self, "columns", columns)
    title = self.title or self.root or "the corpus"
    object.__setattr__(self, "title", title)

  def _checked(self, name: str, column: np.ndarray) -> np.ndarray:
    if column.shape != (expected := (len(self.path),)):
      raise ValueError(
        f"column {name} has shape {column.shape}, expected {expected}"
      )
    column = column.view()
    column.setflags(write=False)
    return column

  def __len__(self) -> int:
    """Number of rows."""
    return len(self.path)

  def __getitem__(self, column: str) -> np.ndarray:
    """A column by name."""
    if column in _TYPES:
      return getattr(self, column)
    if column not in self.columns:
      names = ", ".join([*_TYPES, *self.columns])
      raise CorpusError(f"{self.title} has no column {column}; it has {names}")
    return self.columns[column]

  def codes(self, column: str) -> tuple[np.ndarray, tuple]:
    """Indices, int32, of a column into its sorted values, and these."""
    values, index = np.unique(self[column], return_inverse=True)
    return index.astype(np.int32), tuple(values.tolist())

  @functools.cached_property
  def _speaker(self) -> tuple[np.ndarray, tuple[str, ...]]:
    if "speaker" not in self.columns:
      return np.zeros(len(self), np.int32), ("",)
    return self.codes("speaker")

  @property
  def speaker(self) -> np.ndarray:
    """Speaker of each row, an index into `speakers`, int32."""
    return self._speaker[0]

  @property
  def speakers(self) -> tuple[str, ...]:
    """Names of the speakers, sorted; ("",) without a column "speaker"."""
    return self._speaker[1]

  @property
  def is_premixed(self) -> bool:
    """Whether rows are mixtures with their sources."""
    return "mixture" in self.parts

  @property
  def num_sources(self) -> int:
    """Sources of each mixture; 0 if rows are not mixtures."""
    return sum(re.fullmatch(r"s\d+", part) is not None for part in self.parts)

  @property
  def seconds(self) -> float:
    """Duration of all rows together."""
    return float((self.length / self.rate_hz).sum())

  def full_path(self, row: int) -> str:
    """The path of a row with the root in front."""
    return os.path.join(self.root, self.path[row])

  def read(
    self, row: int, start: int = 0, length: int | None = None
  ) -> np.ndarray:
    """Reads a part of a recording, and nothing else.

    Args:
      row: Row of the table.
      start: First sample, from the beginning of the recording.
      length: Number of samples; None reads to the end.

    Returns:
      float32 at `rate_hz[row]`, `[length]`, or `[P, length]` of stacked parts.

    Raises:
      CorpusError: If the file is damaged; the message names it.
      ValueError: If the recording has no such samples.
    """
    total, path = int(self.length[row]), self.full_path(row)
    length = total - start if length is None else length
    if start < 0 or length < 0 or start + length > total:
      raise ValueError(
        f"{path}: samples {start} to {start + length} wanted of {total}"
      )
    return self.reader(path, int(self.start[row]) + start, length)

  def rows(self, rows) -> Corpus:
    """The table of some rows, by indices or a mask; speakers renumbered."""
    kept: dict[str, Any] = {name: self[name][rows] for name in _TYPES}
    columns = {name: values[rows] for name, values in self.columns.items()}
    return dataclasses.replace(self, **kept, columns=columns)

  def subset(
    self,
    speakers: Iterable[str] | str | os.PathLike[str] | None = None,
    exclude: Iterable[str] | str | os.PathLike[str] | None = None,
  ) -> Corpus:
    """The rows of some speakers, renumbered from 0.

    Args:
      speakers: Names to keep, or a file with one name per line; None keeps all.
      exclude: Names to leave out, or such a file. Unknown ones are reported.

    Returns:
      The corpus of those rows.

    Raises:
      CorpusError: If there is no column "speaker", a speaker to keep is
        missing, none to exclude is known, or nobody is left.
    """
    known = set(self["speaker"])
    kept = known
    if speakers is not None:
      kept = _names(speakers)
      if kept - known:
        raise CorpusError(
          f"{self.title} has no speaker {_few(sorted(kept - known))}; it has"
          f" {_few(self.speakers)}"
        )
    if exclude is not None:
      unwanted = _names(exclude)
      if unknown := sorted(unwanted - known):
        message = f"{self.title} has no speaker {_few(unknown)} to exclude"
        if not unwanted & known:
          raise CorpusError(f"{message}; it has {_few(self.speakers)}")
        logging.warning("%s", message)
      kept = kept - unwanted
    if not kept:
      raise CorpusError(f"no speaker of {self.title} is left")
    return self.rows(np.array([name in kept for name in self["speaker"]]))

  def first_channel(self) -> Corpus:
    """The corpus with the first channel instead of the average of all.

    Averaged RIRs can cancel. A corpus opened with `channel` does not change.
    """
    reader: Any = self.reader
    channel = inspect.signature(reader).parameters.get("channel")
    if channel is None or channel.default is not None:
      return self
    return dataclasses.replace(
      self, reader=functools.partial(reader, channel=0)
    )


def concatenate(corpora: Iterable[Corpus]) -> Corpus:
  """Several corpora as one; a speaker of the same name is the same speaker.

  Args:
    corpora: Corpora with the same reader.

  Returns:
    All rows in the order given, with the columns that all have, and paths
    from the deepest common folder.

  Raises:
    ValueError: If there is no corpus, or they have different readers.
  """
  corpora = list(corpora)
  if len({corpus.reader for corpus in corpora}) != 1:
    raise ValueError("only corpora of one reader can be concatenated")
  roots = [corpus.root for corpus in corpora]
  common = ""
  if len({os.path.isabs(root) for root in roots}) == 1:
    common = os.path.commonpath(roots)
  paths = [
    corpus.full_path(row) for corpus in corpora for row in range(len(corpus))
  ]
  if common:
    paths = [os.path.relpath(path, common) for path in paths]
  columns = {
    name: np.concatenate([corpus[name] for corpus in corpora])
    for name in (*_TYPES, *corpora[0].columns)
    if all(name in _TYPES or name in c.columns for c in corpora)
  }
  places: dict[str, Any] = {name: columns.pop(name) for name in _TYPES}
  return dataclasses.replace(
    corpora[0],
    **places | {"path": paths},
    columns=columns,
    root=common,
    title=common,
    report=None,
  )


def hold_out(
  corpus: Corpus, *, column: str | None = None, at_least: int = 1
) -> tuple[Corpus, Corpus]:
  """Splits a corpus in two, of which the second is for validation.

  Every tenth value of a column goes to the second part; more, if it would have
  fewer than `at_least`.

  Args:
    corpus: The corpus.
    column: The parts share no value of this column. None takes "speaker"
      (of noises and rooms: the folder) if there are enough, else "path".
    at_least: How many values each part needs.

  Returns:
    The rest, and what was held out.

  Raises:
    CorpusError: If there are too few values.

  Example:
    >>> from data_pipelines.voices import make_voices
    >>> voices = make_voices(num_speakers=6, utterances_per_speaker=1)
    >>> train, valid = hold_out(voices, column="speaker", at_least=2)
    >>> len(train.speakers), len(valid.speakers)
    (4, 2)
    >>> shared_speakers(train, valid)
    ()
  """
  if column is None:
    column = "speaker" if len(corpus.speakers) >= 2 * at_least else "path"
  index, values = corpus.codes(column)
  for stride in range(10, 1, -1):
    num_held = len(values[::stride])
    if at_least <= num_held <= len(values) - at_least:
      held = index % stride == 0
      return corpus.rows(~held), corpus.rows(held)
  raise CorpusError(
    f"{corpus.title} has {len(values)} different {column} values, too few"
    " to keep some for validation"
  )


def shared_speakers(one: Corpus, other: Corpus) -> tuple[str, ...]:
  """Speakers that two corpora have in common.

  Args:
    one: A corpus.
    other: Another; without a column "speaker" they share none.

  Returns:
    The names, sorted.
  """
  names = (set(corpus.columns.get("speaker", ())) for corpus in (one, other))
  return tuple(sorted(set.intersection(*names)))


_TYPES = {
  "path": object,
  "start": np.int64,
  "length": np.int64,
  "rate_hz": np.int32,
}


def _column(values: Column) -> np.ndarray:
  """Numbers as they are, everything else as objects."""
  array = np.asarray(values)
  return array if array.dtype.kind in "biuf" else np.asarray(values, object)


def _names(names) -> set[str]:
  """Names as given, or of the file that holds them."""
  is_path = isinstance(names, (str, os.PathLike))
  return set(read_names(names) if is_path else names)


def _few(names: Iterable[str], limit: int = 3) -> str:
  """The first names and how many more there are."""
  names = list(names)
  more = len(names) - limit
  return ", ".join(names[:limit]) + (f" and {more} more" if more > 0 else "")
