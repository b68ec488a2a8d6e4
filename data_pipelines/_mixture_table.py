"""The table of a list of mixtures, its CSV file, and reading the mixtures."""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Iterable

import numpy as np

from data_pipelines import scanning
from data_pipelines.files import CorpusError, read_csv, read_file
from data_pipelines.scanning import Header
from data_pipelines.table import Corpus

_SOURCE_COLUMNS = ("path", "start", "length", "gain_db")


@dataclasses.dataclass(frozen=True, eq=False)
class MixtureList:
  """A table of mixtures to be made: M mixtures of S sources."""

  id: np.ndarray  # Name of each (objects of type str), `[M]`.
  rate_hz: np.ndarray  # Rate of its files, `[M]`.
  length: np.ndarray  # Samples at that rate, `[M]`.
  path: np.ndarray  # Relative to the corpus (objects of type str), `[M, S]`.
  start: np.ndarray  # First sample in each file, `[M, S]`.
  source_length: np.ndarray  # Samples of each file, then silence, `[M, S]`.
  gain_db: np.ndarray  # Gain of each file's samples, `[M, S]`.

  def __post_init__(self):
    again = np.ones(len(self), dtype=bool)
    again[np.unique(self.id.astype(str), return_index=True)[1]] = False
    for rows, what in (
      (again, "there is an earlier mixture of this id"),
      (self.rate_hz < 1, "rate_hz is below 1"),
      (self.length < 1, "length is below 1"),
      ((self.start < 0).any(1), "the start of a source is negative"),
      ((self.source_length < 0).any(1), "the length of a source is negative"),
      (~np.isfinite(self.gain_db).all(1), "a gain_db is no finite number"),
    ):
      if rows.any():
        raise CorpusError(f"mixture {self.id[np.argmax(rows)]}: {what}")

  def __len__(self) -> int:
    """Number of mixtures."""
    return len(self.id)

  @property
  def num_sources(self) -> int:
    """Sources in each mixture."""
    return self.path.shape[1]


def write_list(mixtures: MixtureList, path: str | os.PathLike[str]) -> None:
  """Writes a list as CSV.

  Args:
    mixtures: The list; its gains are written to a thousandth of a dB.
    path: The file; one that is there is replaced.
  """
  sources = range(mixtures.num_sources)
  with open(path, "w", encoding="utf-8", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
      ["id", "rate_hz", "length"]
      + [f"{column}_{s + 1}" for s in sources for column in _SOURCE_COLUMNS]
    )
    for m in range(len(mixtures)):
      row = [mixtures.id[m], mixtures.rate_hz[m], mixtures.length[m]]
      for s in sources:
        row += [mixtures.path[m, s], mixtures.start[m, s]]
        row += [mixtures.source_length[m, s], f"{mixtures.gain_db[m, s]:.3f}"]
      writer.writerow(row)


def read_list(path: str | os.PathLike[str]) -> MixtureList:
  """Reads what `write_list` wrote, or a table made by hand.

  Args:
    path: The file.

  Returns:
    The list.

  Raises:
    CorpusError: If the file cannot be used; the message names the line or the
      mixture.
  """
  columns, lines = read_csv(path)
  num_sources = max(sum(column.startswith("path_") for column in columns), 1)
  numbers = range(1, num_sources + 1)
  needed = [f"{column}_{n}" for n in numbers for column in _SOURCE_COLUMNS]
  needed = ["id", "rate_hz", "length", *needed]
  if missing := [column for column in needed if column not in columns]:
    raise CorpusError(f"{path}: has no column {', '.join(missing)}")
  if not lines:
    raise CorpusError(f"{path}: lists no mixture")
  rows = []
  for number, row in lines:
    try:
      rows.append(
        (
          row["id"],
          np.int32(row["rate_hz"]),
          np.int64(row["length"]),
          [row[f"path_{n}"] for n in numbers],
          [np.int64(row[f"start_{n}"]) for n in numbers],
          [np.int64(row[f"length_{n}"]) for n in numbers],
          [float(row[f"gain_db_{n}"]) for n in numbers],
        )
      )
    except (OverflowError, ValueError) as error:
      raise CorpusError(f"{path}: line {number}: {error}") from None
  ids, rates, lengths, paths, *places = zip(*rows, strict=True)
  try:
    return MixtureList(
      np.array(ids, dtype=object),
      np.array(rates),
      np.array(lengths),
      np.array(paths, dtype=object),
      *map(np.array, places),
    )
  except CorpusError as error:
    raise CorpusError(f"{path}: {error}") from None


def usable_headers(root: str, paths: Iterable[str]) -> dict[str, Header]:
  """Headers of the files of a list; CorpusError if one cannot be used."""
  found = scanning.probe_all(root, paths)
  for path, header in found.items():
    if header.error:
      raise CorpusError(
        f"{os.path.join(root, path)}: {header.error}; the list needs it"
      )
  return found


def open_list(mixtures: MixtureList, root: str | os.PathLike[str]) -> Corpus:
  """Finds the files of a list and checks them against it.

  Args:
    mixtures: The list.
    root: Folder that its paths start from.

  Returns:
    A corpus of mixtures with the parts "mixture", "s1", "s2" ..., of which
    the first is the sum of the others, and the columns "name" (the id) and
    "path_1", "path_2" ... (the file of each source).

  Raises:
    CorpusError: If a file is missing, broken, of another rate or too short.
  """
  root = scanning.require_folder(root, what="the corpus of the list")
  found = usable_headers(root, mixtures.path.flat)
  for m, paths in enumerate(mixtures.path):
    needed = mixtures.start[m] + mixtures.source_length[m]
    for path, length in zip(paths, needed, strict=True):
      header, different = found[path], None
      if header.rate_hz != mixtures.rate_hz[m]:
        different = "of another rate"
      elif header.length < length:
        different = "shorter"
      if different:
        raise CorpusError(
          f"mixture {mixtures.id[m]}: {path} under {root} is {different} than"
          " the file that the list was made from"
        )
  numbers = range(1, mixtures.num_sources + 1)
  return Corpus(
    path=mixtures.id,
    start=np.zeros(len(mixtures)),
    length=mixtures.length,
    rate_hz=mixtures.rate_hz,
    columns={"name": mixtures.id}
    | {f"path_{n}": mixtures.path[:, n - 1] for n in numbers},
    reader=_Mixer(mixtures, root),
    parts=("mixture", *(f"s{n}" for n in numbers)),
  )


class _Mixer:
  """Reads mixture and sources, `[1 + S, length]`, by the mixture's id."""

  def __init__(self, mixtures: MixtureList, root: str):
    self._mixtures, self._root = mixtures, root
    self._row_of = {name: row for row, name in enumerate(mixtures.id)}

  def __call__(self, path: str, start: int, length: int) -> np.ndarray:
    mixtures, row = self._mixtures, self._row_of[path]
    parts = np.zeros((1 + mixtures.num_sources, length), dtype=np.float32)
    for source in range(mixtures.num_sources):
      end = min(start + length, int(mixtures.source_length[row, source]))
      if end <= start:
        continue
      samples = read_file(
        os.path.join(self._root, mixtures.path[row, source]),
        int(mixtures.start[row, source]) + start,
        end - start,
      )
      gain = np.float32(10 ** (mixtures.gain_db[row, source] / 20))
      parts[1 + source, : len(samples)] = gain * samples
    parts[0] = parts[1:].sum(axis=0)
    return parts
