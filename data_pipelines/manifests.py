"""Corpora listed in a file: CSV or JSON lines, one recording per line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

from absl import logging

from data_pipelines import scan_cache, scanning
from data_pipelines.files import (
  CorpusError,
  channel_reader,
  read_csv,
  read_text,
)
from data_pipelines.scanning import Header
from data_pipelines.table import Corpus


def read_manifest(
  path: str | os.PathLike[str],
  *,
  root: str | os.PathLike[str] | None = None,
  split: str | None = None,
  channel: int | None = None,
  cache_dir: str | os.PathLike[str] | None = None,
) -> Corpus:
  """The recordings that a manifest lists, in its order.

  Each line has a `path`, and may have `start` and `length` in samples of the
  file (the whole file if they are absent or empty), `speaker`, `text` and any
  other column. In a CSV file, with a header line, other columns are text; in
  JSON lines (`.jsonl`, `.json`) they are what is given, text or numbers.

  Args:
    path: The manifest.
    root: Folder that relative paths start from; None takes the manifest's.
    split: Keep the lines that have this in the column "split"; None is all.
    channel: The channel to read; None averages all.
    cache_dir: Where to remember the files' headers; None takes the user's
      cache folder.

  Returns:
    The corpus, with the manifest's columns.

  Raises:
    CorpusError: If the manifest or one of its files cannot be used; the
      message names the line.
  """
  path = os.path.abspath(os.fspath(path))
  rows = list(_rows(path))
  splits = dict.fromkeys(str(row["split"]) for _, row in rows if "split" in row)
  if split is not None:
    rows = [row for row in rows if row[1].get("split") == split]
  elif len(splits) > 1:
    logging.warning("%s: lines of all splits are taken: %s", path, [*splits])
  if not rows:
    which = "" if split is None else f" of split {split}, only of {[*splits]}"
    raise CorpusError(f"{path}: lists no recording{which}")
  names = _columns_of(path, rows)
  root = os.path.dirname(path) if root is None else os.path.abspath(root)
  table = scan_cache.table_path(path, "headers.json", cache_dir)
  found = scanning.probe_all(root, (row["path"] for _, row in rows), table)
  starts, lengths = zip(
    *(_place(path, *row, found[row[1]["path"]]) for row in rows), strict=True
  )
  return Corpus(
    path=[row["path"] for _, row in rows],
    start=starts,
    length=lengths,
    rate_hz=[found[row["path"]].rate_hz for _, row in rows],
    columns={name: [row[name] for _, row in rows] for name in names},
    root=root,
    title=path,
    reader=channel_reader(channel),
  )


def _rows(path: str) -> Iterable[tuple[int, dict[str, Any]]]:
  """Number and values of each line that is not empty."""
  if not path.endswith((".json", ".jsonl")):
    names, rows = read_csv(path)
    if names and "path" not in names:
      raise CorpusError(
        f"{path}: has no column path, only {', '.join(names)}; expected a"
        " header line such as path,speaker, and commas between columns"
      )
    return rows
  lines = enumerate(read_text(path).split("\n"), 1)
  return [(n, _parsed(path, n, line)) for n, line in lines if line.strip()]


def _parsed(path: str, number: int, line: str) -> dict[str, Any]:
  """A line of JSON."""
  try:
    row = json.loads(line)
  except ValueError as error:
    raise CorpusError(f"{path}: line {number}: is not JSON ({error})") from None
  if not isinstance(row, dict):
    raise CorpusError(f"{path}: line {number}: is not a JSON object")
  for name, value in row.items():
    if isinstance(value, (dict, list)):
      raise CorpusError(
        f"{path}: line {number}: {name} is neither text nor a number"
      )
  return row


def _columns_of(path: str, rows: list[tuple[int, dict]]) -> list[str]:
  """Names of the columns beyond path, start and length, the same of all."""
  place = {"path", "start", "length"}
  names = [name for name in rows[0][1] if name not in place]
  for number, row in rows:
    if not isinstance(row.get("path"), str) or not row["path"]:
      raise CorpusError(f"{path}: line {number}: has no path")
    if odd := sorted(set(names) ^ (set(row) - place)):
      raise CorpusError(
        f"{path}: line {number}: {', '.join(odd)} must be in all lines or none"
      )
    for name in {"speaker", "text"} & row.keys():
      row[name] = "" if row[name] is None else str(row[name])
  return names


def _place(path: str, number: int, row: dict, header: Header):
  """First sample and number of samples of a line."""
  where = f"{path}: line {number}"
  if header.error:
    raise CorpusError(f"{where}: {header.path}: {header.error}")

  def samples(name: str, default: int) -> int:
    value = row.get(name)
    if value is None or value == "":
      return default
    try:
      if float(value) == int(value):
        return int(value)
    except (TypeError, ValueError, OverflowError):
      pass
    raise CorpusError(f"{where}: {name} is {value!r}, not a number of samples")

  start = samples("start", 0)
  length = samples("length", header.length - start)
  if start < 0 or length < 1 or start + length > header.length:
    raise CorpusError(
      f"{where}: samples {start} to {start + length} wanted, but"
      f" {header.path} has {header.length}"
    )
  return start, length
