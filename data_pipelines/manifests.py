"""Corpora listed in a file: CSV or JSON lines, one recording a line."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from typing import Any

from data_pipelines import scan_cache, scanning
from data_pipelines.files import CorpusError, channel_reader
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
  if split is not None:
    rows = [row for row in rows if row[1].get("split") == split]
  if not rows:
    of_split = "" if split is None else f" of split {split}"
    raise CorpusError(f"{path}: lists no recording{of_split}")
  names = _columns_of(path, rows)
  root = os.path.dirname(path) if root is None else os.path.abspath(root)
  found = _headers(path, root, rows, cache_dir)
  places = [_place(path, *row, found) for row in rows]
  return Corpus(
    path=[row["path"] for _, row in rows],
    start=[start for start, _, _ in places],
    length=[length for _, length, _ in places],
    rate_hz=[rate_hz for _, _, rate_hz in places],
    columns={name: [row[name] for _, row in rows] for name in names},
    root=root,
    reader=channel_reader(channel),
  )


def _rows(path: str) -> Iterator[tuple[int, dict[str, Any]]]:
  """Number and values of each line that is not empty."""
  try:
    with open(path, encoding="utf-8-sig", newline="") as file:
      if path.endswith((".json", ".jsonl")):
        for number, line in enumerate(file, 1):
          if line.strip():
            yield number, _parsed(path, number, line)
        return
      reader = csv.DictReader(file)
      for row in reader:
        if None in row or None in row.values():
          raise CorpusError(
            f"{path}: line {reader.line_num}: has not"
            f" {len(reader.fieldnames or [])} values as the header has"
          )
        yield reader.line_num, row
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise CorpusError(f"{path}: cannot be read ({error})") from None


def _parsed(path: str, number: int, line: str) -> dict[str, Any]:
  """A line of JSON."""
  try:
    row = json.loads(line)
  except ValueError as error:
    raise CorpusError(f"{path}: line {number}: no JSON ({error})") from None
  if not isinstance(row, dict):
    raise CorpusError(f"{path}: line {number}: is no JSON object")
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
    for name in ("speaker", "text"):
      if name in row:
        row[name] = "" if row[name] is None else str(row[name])
  return names


def _headers(path, root, rows, cache_dir):
  """Length, rate and error of each file by its path."""
  listing, lines = {}, {}
  for number, row in rows:
    name = row["path"]
    lines.setdefault(name, number)
    try:
      stat = os.stat(os.path.join(root, name))
    except OSError as error:
      raise CorpusError(
        f"{path}: line {number}: {name}: {error.strerror}"
      ) from None
    listing[name] = (name, stat.st_size, stat.st_mtime_ns)
  cache_dir = scan_cache.writable_cache(path, cache_dir)
  known = scan_cache.load(cache_dir) if cache_dir else None
  headers = scanning.read_headers(root, sorted(listing.values()), known=known)
  if cache_dir and not scan_cache.same(headers, known):
    scan_cache.save(cache_dir, headers)
  found = {}
  for name, length, rate_hz, error in zip(
    headers.path, headers.length, headers.rate_hz, headers.error, strict=True
  ):
    if error or not length:
      raise CorpusError(
        f"{path}: line {lines[name]}: {name}: {error or 'is empty'}"
      )
    found[name] = int(length), int(rate_hz)
  return found


def _place(path, number, row, found) -> tuple[int, int, int]:
  """First sample, samples and rate of a line."""
  total, rate_hz = found[row["path"]]
  values = {}
  for name in ("start", "length"):
    value = row.get(name)
    if value is None or value == "":
      continue
    try:
      values[name] = int(value)
      good = float(value) == values[name] >= (name == "length")
    except (TypeError, ValueError):
      good = False
    if not good:
      raise CorpusError(
        f"{path}: line {number}: {name} is {value!r}, no number of samples"
      )
  start = values.get("start", 0)
  length = values.get("length", total - start)
  if length < 1 or start + length > total:
    raise CorpusError(
      f"{path}: line {number}: samples {start} to {start + length} wanted,"
      f" but {row['path']} has {total}"
    )
  return start, length, rate_hz
