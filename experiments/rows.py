"""Rows of results: files, tables, means."""

import csv
import json
import math
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

Row = dict[str, Any]


def write(path: str | os.PathLike[str], rows: Sequence[Row]) -> None:
  """Writes rows of the same columns as `.csv` or `.jsonl`, by the ending.

  In CSV, numbers have 6 digits after the point, and None and NaN are empty.
  """
  path = pathlib.Path(path)
  hidden = path.with_name(f".{path.name}")
  with open(hidden, "w", encoding="utf-8", newline="") as file:
    if path.suffix == ".jsonl":
      file.writelines(json.dumps(row) + "\n" for row in rows)
    elif rows:
      writer = csv.writer(file, lineterminator="\n")
      writer.writerow(rows[0])
      for row in rows:
        writer.writerow([_text(row[name], 6) for name in rows[0]])
  os.replace(hidden, path)


def markdown(rows: Sequence[Row], digits: int = 2) -> str:
  """A table in Markdown, without the columns that have no value at all."""
  names = [
    name
    for name in (rows[0] if rows else ())
    if any(_text(row[name], digits) for row in rows)
  ]
  lines = [names, ["---"] * len(names)]
  lines += [[_text(row[name], digits) for name in names] for row in rows]
  return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def grouped(
  rows: Iterable[Row], names: Sequence[str]
) -> dict[tuple, list[Row]]:
  """Rows by their values in some columns, in the order of the first ones."""
  groups: dict[tuple, list[Row]] = {}
  for row in rows:
    groups.setdefault(tuple(row[name] for name in names), []).append(row)
  return groups


def mean_and_error(values: Any) -> tuple[float, float]:
  """The mean of the finite values, and its standard error, NaN for one."""
  values = np.asarray(values, np.float64)
  values = values[np.isfinite(values)]
  if not len(values):
    return math.nan, math.nan
  if len(values) == 1:
    return float(values[0]), math.nan
  return float(values.mean()), float(values.std() / (len(values) - 1) ** 0.5)


def summary(
  rows: Sequence[Row],
  titles: Mapping[str, str],
  pooled: Mapping[str, float] | None = None,
) -> str:
  """A Markdown table: mean, standard error and median of titled columns.

  `pooled` are values of all rows together, which have no error or median.
  """
  lines = []
  pooled = pooled or {}
  for name in [name for name in titles if name in pooled or name in rows[0]]:
    values = [] if name in pooled else [row[name] for row in rows]
    mean, error = mean_and_error(values)
    finite = [value for value in values if math.isfinite(value)]
    lines.append(
      {
        f"{len(rows)} examples": titles[name],
        "mean": pooled.get(name, mean),
        "standard error": error,
        "median": float(np.median(finite)) if finite else math.nan,
      }
    )
  return markdown(lines)


def spread(rows: Sequence[Row]) -> str:
  """A sentence on how much the mean depends on which speakers were recorded.

  Mixtures of the same few speakers are not independent. "" where there are no
  `folders`, or fewer than two mixtures to a set of them.
  """
  if "folders" not in rows[0]:
    return ""
  sets = grouped(rows, ["folders"]).values()
  if not 1 < len(sets) <= len(rows) / 2:
    return ""
  means = [
    float(np.mean([row["si_sdr_improvement"] for row in group]))
    for group in sets
  ]
  return (
    f"The SI-SDRi of the {len(means)} sets of speakers (first folders) is "
    f"{min(means):.2f} to {max(means):.2f} dB, the standard error over them "
    f"{mean_and_error(means)[1]:.2f} dB."
  )


def refuse_existing(
  paths: Iterable[pathlib.Path], *, overwrite: bool, flag: str = "--output"
) -> None:
  """Raises ValueError if a file exists and may not be replaced."""
  for path in paths:
    if path.exists() and not overwrite:
      raise ValueError(
        f"{path} is there already; choose another {flag}, or pass --overwrite"
      )


def _text(value, digits):
  """A cell of a table."""
  if value is None or (isinstance(value, float) and math.isnan(value)):
    return ""
  return f"{value:.{digits}f}" if isinstance(value, float) else str(value)
