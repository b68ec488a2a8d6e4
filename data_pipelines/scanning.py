"""Finds the audio files of a folder and checks their headers."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from absl import logging

from data_pipelines import scan_cache
from data_pipelines.files import (
  SOUND_ERRORS,
  CorpusError,
  open_sound,
  reason_of,
)

# Which format a file has does not matter: soundfile looks at its content.
AUDIO_SUFFIXES = frozenset(
  ".aif .aifc .aiff .au .caf .flac .mp3 .nist .oga .ogg .opus .rf64 .snd"
  " .sph .w64 .wav .wave".split()
)
_REPORT_NAME = "problems.txt"
_TABLE_NAME = "headers.json"
_MAX_NAMED = 3
#: The error of a file without samples.
EMPTY = "no samples"
#: Files looked at in parallel: reading waits for disks and networks.
NUM_THREADS = 8
# libsndfile's answer where the header gives no length.
_UNKNOWN_LENGTH = 2**62
# Lower rates come from damaged headers, and make hours of seconds.
_MIN_RATE_HZ = 1000


class Header(NamedTuple):
  """What the header of a file says."""

  path: str  # Relative to the scanned root.
  length: int  # Samples; 0 if the file is empty or broken.
  rate_hz: int  # 0 if the file is broken.
  error: str  # Why it cannot be used, or "".


@dataclasses.dataclass(frozen=True)
class Problem:
  """Something that a person should know about one file."""

  path: str  # Relative to the scanned root.
  kind: str  # broken, empty, odd rate, misplaced, folder or unmatched.
  detail: str  # One line on what is wrong.
  dropped: bool = True  # Whether the file is left out of the corpus.


@dataclasses.dataclass(frozen=True)
class ScanReport:
  """What a scan found."""

  root: str
  num_files: int  # Audio files looked at.
  problems: tuple[Problem, ...] = ()  # In the order of their paths.
  written_to: str | None = None  # File with all problems, one per line.

  def summary(self) -> str:
    """One line per kind of problem: how many files, and the first names."""
    lines = []
    for kind, count in sorted(Counter(p.kind for p in self.problems).items()):
      of_kind = [p for p in self.problems if p.kind == kind]
      names = ", ".join(f"{p.path} ({p.detail})" for p in of_kind[:_MAX_NAMED])
      more = f" and {count - _MAX_NAMED} more" if count > _MAX_NAMED else ""
      fate = "left out" if of_kind[0].dropped else "kept"
      lines.append(
        f"  {kind}, {fate}: {count} of {self.num_files}: {names}{more}"
      )
    if self.written_to:
      lines.append(f"  all of them: {self.written_to}")
    return "\n".join([f"{self.root}: {self.num_files} audio files", *lines])


def require_folder(root: str | os.PathLike[str], *, what: str) -> str:
  """The absolute path of a folder; CorpusError if it is none."""
  root = os.fspath(root)
  if not os.path.exists(root):
    raise CorpusError(f"{root}: no such folder; expected {what}")
  if not os.path.isdir(root):
    raise CorpusError(f"{root}: is a file; expected {what}")
  return os.path.abspath(root)


def list_audio(
  root: str, top_folders: Sequence[str] = ()
) -> tuple[list[tuple[str, int, int]], list[Problem]]:
  """Audio files by suffix as sorted (path, bytes, mtime in ns), and problems.

  Links are followed; names that begin with a dot are skipped.
  """
  found, problems = [], []

  # `ancestors` identify the folders above, so that links make no circles.
  def walk(folder: str, prefix: str, ancestors: frozenset) -> None:
    try:
      entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
      problems.append(Problem(prefix or ".", "broken", error.strerror or "?"))
      return
    for entry in entries:
      if entry.name.startswith("."):
        continue
      if not prefix and top_folders and entry.name not in top_folders:
        continue
      path = prefix + entry.name
      is_audio = os.path.splitext(entry.name)[1].lower() in AUDIO_SUFFIXES
      try:
        if entry.is_dir():
          stat = entry.stat()
          if is_audio:
            detail = "a folder with the name of an audio file"
            problems.append(Problem(path, "folder", detail))
          elif (identity := (stat.st_dev, stat.st_ino)) in ancestors:
            problems.append(Problem(path, "folder", "a link to its parent"))
          else:
            walk(entry.path, path + "/", ancestors | {identity})
        elif is_audio:
          stat = entry.stat()
          found.append((path, stat.st_size, stat.st_mtime_ns))
      except OSError as error:
        problems.append(Problem(path, "broken", error.strerror or "?"))

  stat = os.stat(root)
  walk(root, "", frozenset({(stat.st_dev, stat.st_ino)}))
  return sorted(found), problems


def probe(path: str) -> tuple[int, int, str]:
  """Samples, rate and error of a file; its last sample must be there."""
  try:
    if os.path.getsize(path) == 0:
      return 0, 0, EMPTY
    with open_sound(path) as file:
      length, rate_hz = file.frames, file.samplerate
      if length >= _UNKNOWN_LENGTH:
        return 0, 0, "the header does not say how long the file is"
      if length <= 0:
        return 0, rate_hz, EMPTY
      if rate_hz < _MIN_RATE_HZ:
        return 0, 0, f"the header says {rate_hz} Hz, which is no rate of sound"
      file.seek(length - 1)
      if len(file.read(1, dtype="float32")) != 1:
        return 0, 0, f"ends before the {length} samples of its header"
      return length, rate_hz, ""
  except SOUND_ERRORS as error:
    return 0, 0, reason_of(error)


def read_headers(
  root: str, listing: Iterable[tuple[str, int, int]], table: str | None = None
) -> list[Header]:
  """Headers of listed files, read in parallel.

  `table` is a file that remembers them: only new and changed ones are read.
  """
  known = scan_cache.load(table)
  stats = {path: stat for path, *stat in listing}
  unknown = [p for p in stats if known.get(p, ())[:2] != stats[p]]
  logging.info(
    "%s: reading %d headers of %d files", root, len(unknown), len(stats)
  )
  with concurrent.futures.ThreadPoolExecutor(NUM_THREADS) as pool:
    found = pool.map(lambda path: probe(os.path.join(root, path)), unknown)
    fresh = dict(zip(unknown, found, strict=True))
  rows = {
    path: [*stat, *fresh[path]] if path in fresh else known[path]
    for path, stat in stats.items()
  }
  if fresh or (rows and len(rows) != len(known)):
    scan_cache.save(table, rows)
  return [Header(path, *row[2:]) for path, row in rows.items()]


def probe_all(
  root: str, paths: Iterable[str], table: str | None = None
) -> dict[str, Header]:
  """Headers of named files; one that cannot be used has an `error`."""
  listing = []
  for path in sorted(set(paths)):
    try:
      stat = os.stat(os.path.join(root, path))
      listing.append((path, stat.st_size, stat.st_mtime_ns))
    except OSError:  # The reason is found when the header is read.
      listing.append((path, 0, 0))
  return {header.path: header for header in read_headers(root, listing, table)}


def scan(
  root: str,
  *,
  cache_dir: str | os.PathLike[str] | None = None,
  check: Callable[[list[Header]], Iterable[Problem]] = lambda headers: (),
  top_folders: Sequence[str] = (),
) -> tuple[list[Header], ScanReport]:
  """The usable files under a folder; every problem is reported by name.

  Headers are remembered in the cache folder and read again only where a path,
  size or time of change differs; nothing is written into `root`. Broken and
  empty files, and those that `check` drops, are left out; a file of an unusual
  rate is kept and reported. CorpusError if no file is usable.
  """
  listing, problems = list_audio(root, top_folders)
  place = os.path.join(root, *top_folders)
  table = scan_cache.table_path(place, _TABLE_NAME, cache_dir)
  headers = read_headers(root, listing, table)
  problems += [*_header_problems(headers), *check(headers)]
  problems.sort(key=lambda problem: (problem.path, problem.kind))
  report = ScanReport(root, len(listing), tuple(problems))
  if problems:
    path = table and os.path.join(os.path.dirname(table), _REPORT_NAME)
    text = "".join(f"{p.path}\t{p.kind}\t{p.detail}\n" for p in problems)
    if scan_cache.write(path, text):
      report = dataclasses.replace(report, written_to=path)
    logging.warning("%s", report.summary())
  dropped = {problem.path for problem in problems if problem.dropped}
  usable = [header for header in headers if header.path not in dropped]
  if not usable:
    first = f"; {problems[0].path}: {problems[0].detail}" if problems else ""
    raise CorpusError(
      f"{root}: none of its {len(listing)} audio files can be used{first}"
    )
  return usable, report


def _header_problems(headers: list[Header]) -> Iterator[Problem]:
  """Broken and empty files, and those of an unusual rate."""
  rates = Counter(header.rate_hz for header in headers if header.length)
  usual = rates.most_common(1)[0][0] if rates else 0
  for path, length, rate_hz, error in headers:
    if not length:
      yield Problem(path, "broken" if error != EMPTY else "empty", error)
    elif rate_hz != usual:
      detail = f"{rate_hz} Hz, most files have {usual}"
      yield Problem(path, "odd rate", detail, dropped=False)
