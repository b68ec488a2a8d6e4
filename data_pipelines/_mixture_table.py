"""The table of a fixed list of mixtures, and its CSV file."""

from __future__ import annotations

import csv
import dataclasses
import os

import numpy as np

from data_pipelines.files import CorpusError

_SOURCE_COLUMNS = ("path", "start", "length", "gain_db")


@dataclasses.dataclass(frozen=True, eq=False)
class MixtureList:
  """A table of mixtures to be made. M mixtures, S sources."""

  id: np.ndarray  # Name of each (objects of type str), `[M]`.
  rate_hz: np.ndarray  # Rate of its files, `[M]`.
  length: np.ndarray  # Samples at that rate, `[M]`.
  path: np.ndarray  # Relative to the corpus (objects of type str), `[M, S]`.
  start: np.ndarray  # First sample in each file, `[M, S]`.
  source_length: np.ndarray  # Samples of each file, then silence, `[M, S]`.
  gain_db: np.ndarray  # Gain of each file's samples, `[M, S]`.

  def __len__(self) -> int:
    """Number of mixtures."""
    return len(self.id)

  @property
  def num_sources(self) -> int:
    """Sources in each mixture."""
    return self.path.shape[1]


def mistake_in(mixtures: MixtureList) -> tuple[int, str] | None:
  """The first row of a list that is wrong, and why; None if none is."""
  again = np.ones(len(mixtures), dtype=bool)
  again[np.unique(mixtures.id.astype(str), return_index=True)[1]] = False
  checks = (
    (again, "there is an earlier mixture of this id"),
    (mixtures.rate_hz < 1, "rate_hz is below 1"),
    (mixtures.length < 1, "length is below 1"),
    ((mixtures.start < 0).any(1), "the start of a source is negative"),
    ((mixtures.source_length < 0).any(1), "the length of a source is negative"),
    (~np.isfinite(mixtures.gain_db).all(1), "a gain_db is no finite number"),
  )
  bad = np.array([rows for rows, _ in checks])
  if not bad.any():
    return None
  row = int(np.argmax(bad.any(axis=0)))
  return row, checks[int(np.argmax(bad[:, row]))][1]


def write_list(mixtures: MixtureList, path: str | os.PathLike[str]) -> None:
  """Writes a list as CSV.

  Args:
    mixtures: The list; its gains are written to a thousandth of a dB.
    path: The file; one that is there is replaced.
  """
  numbers = range(1, mixtures.num_sources + 1)
  with open(path, "w", encoding="utf-8", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
      ["id", "rate_hz", "length"]
      + [f"{column}_{n}" for n in numbers for column in _SOURCE_COLUMNS]
    )
    for m in range(len(mixtures)):
      sources = zip(
        mixtures.path[m],
        mixtures.start[m],
        mixtures.source_length[m],
        mixtures.gain_db[m],
        strict=True,
      )
      writer.writerow(
        [mixtures.id[m], mixtures.rate_hz[m], mixtures.length[m]]
        + [x for *place, gain in sources for x in (*place, f"{gain:.3f}")]
      )


def read_list(path: str | os.PathLike[str]) -> MixtureList:
  """Reads what `write_list` wrote, or a table made by hand.

  Args:
    path: The file.

  Returns:
    The list.

  Raises:
    CorpusError: If the file cannot be used; the message names the line.
  """
  try:
    with open(path, encoding="utf-8", newline="") as file:
      reader = csv.DictReader(file)
      columns = reader.fieldnames or []
      num_sources = sum(column.startswith("path_") for column in columns)
      numbers = range(1, num_sources + 1)
      missing = {"id", "rate_hz", "length", "path_1"} | {
        f"{column}_{n}" for n in numbers for column in _SOURCE_COLUMNS
      }
      if missing := sorted(missing - set(columns)):
        raise CorpusError(f"{path}: has no column {', '.join(missing)}")
      rows, lines = [], []
      for row in reader:
        lines.append(reader.line_num)
        try:
          rows.append(
            (
              row["id"],
              int(row["rate_hz"]),
              int(row["length"]),
              [row[f"path_{n}"] for n in numbers],
              [int(row[f"start_{n}"]) for n in numbers],
              [int(row[f"length_{n}"]) for n in numbers],
              [float(row[f"gain_db_{n}"]) for n in numbers],
            )
          )
        except (TypeError, ValueError) as error:
          raise CorpusError(
            f"{path}: line {reader.line_num}: {error}"
          ) from None
  except (OSError, UnicodeDecodeError) as error:
    raise CorpusError(f"{path}: cannot be read ({error})") from None
  if not rows:
    raise CorpusError(f"{path}: lists no mixture")
  names, rates, lengths, paths, starts, sources, gains = zip(*rows, strict=True)
  try:
    mixtures = MixtureList(
      id=np.array(names, dtype=object),
      rate_hz=np.array(rates, dtype=np.int32),
      length=np.array(lengths, dtype=np.int64),
      path=np.array(paths, dtype=object),
      start=np.array(starts, dtype=np.int64),
      source_length=np.array(sources, dtype=np.int64),
      gain_db=np.array(gains),
    )
  except OverflowError:
    raise CorpusError(f"{path}: holds a number that is far too large") from None
  if mistake := mistake_in(mixtures):
    row, what = mistake
    raise CorpusError(f"{path}: line {lines[row]}: {names[row]}: {what}")
  return mixtures
