"""The table of a fixed list of mixtures, and its CSV file."""

from __future__ import annotations

import csv
import dataclasses
import os

import numpy as np

from data_pipelines.table import CorpusError

_SOURCE_COLUMNS = ("path", "start", "length", "gain_db")


@dataclasses.dataclass(frozen=True, eq=False)
class MixtureList:
  """A table of mixtures to be made. M mixtures, S sources.

  Attributes:
    id: Name of each mixture (objects of type str), `[M]`.
    rate_hz: Rate of its files, `[M]`.
    length: Samples at that rate, `[M]`.
    path: Paths relative to the corpus (objects of type str), `[M, S]`.
    start: First sample in each file, `[M, S]`.
    source_length: Samples taken from each file; the source is silent after
      them, `[M, S]`.
    gain_db: Gain of each file's samples, `[M, S]`.
  """

  id: np.ndarray
  rate_hz: np.ndarray
  length: np.ndarray
  path: np.ndarray
  start: np.ndarray
  source_length: np.ndarray
  gain_db: np.ndarray

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
    CorpusError: If the file is missing, lacks a column, or holds a value that
      is no number where one is needed; the message names the line.
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
      rows = []
      for row in reader:
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
  return MixtureList(
    id=np.array(names, dtype=object),
    rate_hz=np.array(rates, dtype=np.int32),
    length=np.array(lengths, dtype=np.int64),
    path=np.array(paths, dtype=object),
    start=np.array(starts, dtype=np.int64),
    source_length=np.array(sources, dtype=np.int64),
    gain_db=np.array(gains),
  )
