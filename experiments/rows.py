"""Rows of results: as files, as tables, and what they say on average."""

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
  """A table in Markdown; columns that are empty throughout are left out."""
  names = [
    name
    for name in (rows[0] if rows else ())
    if any(_text(row[name], digits) for row in rows)
  ]
  lines = [names, ["---"] * len(names)]
  lines += [[_text(row[name], digits) for name in names] for row in rows]
  return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def mean_and_error(values: Any) -> tuple[float, float]:
  """The mean of the finite values, and its standard error, NaN for one."""
  values = np.asarray(values, np.float64)
  values = values[np.isfinite(values)]
  if not len(values):
    return math.nan, math.nan
  if len(values) == 1:
    return float(values[0]), math.nan
  return float(values.mean()), float(values.std() / (len(values) - 1) ** 0.5)


def summary(rows: Sequence[Row], titles: Mapping[str, str]) -> str:
  """A Markdown table of means, their standard errors, and medians.

  Of the columns with a title; those that the rows lack are left out.
  """
  lines = []
  for name, title in titles.items():
    if name in rows[0]:
      mean, error = mean_and_error([row[name] for row in rows])
      values = [row[name] for row in rows if math.isfinite(row[name])]
      median = float(np.median(values)) if values else math.nan
      lines.append(
        {
          f"{len(rows)} mixtures": title,
          "mean": mean,
          "standard error": error,
          "median": median,
        }
      )
  return markdown(lines)


def spread(rows: Sequence[Row]) -> str:
  """How much the mean depends on which recordings there are.

  Mixtures of the same few speakers are no independent draws: the standard
  error over mixtures is that of these speakers' mixtures, and says nothing of
  others. "" where there are no `folders`, or fewer than two mixtures to a set.
  """
  sets: dict[str, list[float]] = {}
  for row in rows:
    value = row["si_sdr_improvement"]
    sets.setdefault(row.get("folders", ""), []).append(value)
  if not 1 < len(sets) <= len(rows) / 2:
    return ""
  means = [float(np.mean(values)) for values in sets.values()]
  _, error = mean_and_error(means)
  return (
    f"The SI-SDRi of the {len(means)} sets of speakers (first folders) is "
    f"{min(means):.2f} to {max(means):.2f} dB, the standard error over them "
    f"{error:.2f} dB."
  )


def refuse_existing(
  paths: Iterable[pathlib.Path], *, overwrite: bool, flag: str = "--output"
) -> None:
  """Raises ValueError if a file is there and may not be replaced."""
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
