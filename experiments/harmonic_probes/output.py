"""Pictures and tables of the probes, as files."""

import csv
import dataclasses
import math
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

Row = dict[str, Any]

_ENDINGS = (".png", ".csv", ".md", "_rows.csv")


@dataclasses.dataclass(frozen=True)
class Result:
  """A figure and its numbers.

  Attributes:
    figure: A matplotlib figure.
    table: The numbers in it.
    rows: What they are means of.
    caption: What was probed, in a line.
  """

  figure: Any
  table: Sequence[Row]
  rows: Sequence[Row]
  caption: str


def claim(
  folder: pathlib.Path, numbers: Iterable[int], *, overwrite: bool
) -> None:
  """Makes the folder, unless figures in it would be replaced unasked.

  Args:
    folder: Where the figures go.
    numbers: Which ones.
    overwrite: Whether they may replace others.

  Raises:
    ValueError: If one is there, or the folder is a file.
  """
  if folder.exists() and not folder.is_dir():
    raise ValueError(f"{folder} is a file; choose another --output_dir")
  for number in sorted(numbers):
    for path in _paths(folder, number):
      if path.exists() and not overwrite:
        raise ValueError(
          f"{path} is there already; choose another --output_dir, or pass "
          "--overwrite"
        )
  folder.mkdir(parents=True, exist_ok=True)


def write(folder: pathlib.Path, number: int, result: Result) -> None:
  """Writes the picture, its numbers, and what they are means of.

  Args:
    folder: Where to.
    number: Number of the figure.
    result: The figure.
  """
  picture, numbers, text, rows = _paths(folder, number)
  result.figure.savefig(picture, dpi=150)
  write_csv(numbers, result.table)
  write_csv(rows, result.rows)
  text.write_text(f"{result.caption}\n\n{markdown(result.table)}\n")


def write_csv(path: pathlib.Path, rows: Sequence[Row]) -> None:
  """Writes rows of the same columns; None and NaN are empty."""
  with open(path, "w", encoding="utf-8", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    if rows:
      writer.writerow(rows[0])
      writer.writerows(
        [_text(value, 6) for value in row.values()] for row in rows
      )


def markdown(rows: Sequence[Row]) -> str:
  """A table in Markdown; columns that are empty throughout are left out."""
  names = [
    name
    for name in (rows[0] if rows else ())
    if any(_text(row[name], 2) for row in rows)
  ]
  lines = [names, ["---"] * len(names)]
  lines += [[_text(row[name], 2) for name in names] for row in rows]
  return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value, digits):
  """A cell of a table."""
  if value is None or (isinstance(value, float) and math.isnan(value)):
    return ""
  return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def _paths(folder, number):
  """The files of a figure."""
  return [folder / f"figure_{number}{ending}" for ending in _ENDINGS]
