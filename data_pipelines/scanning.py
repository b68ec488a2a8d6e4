"""Looks at every file of a corpus once, and remembers what it saw."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import soundfile
from absl import logging

from data_pipelines import scan_cache
from data_pipelines.files import CorpusError, open_sound, reason_of
from data_pipelines.scan_cache import Headers

# soundfile opens a file by its content, so a FLAC file called x.wav is read.
AUDIO_SUFFIXES = frozenset(
  ".aif .aifc .aiff .au .caf .flac .mp3 .nist .oga .ogg .opus .rf64 .snd"
  " .sph .w64 .wav .wave".split()
)
_REPORT_NAME = ".scan_problems.txt"
_MAX_NAMED = 3
#: Files looked at in parallel: reading waits for disks and networks.
NUM_THREADS = 8
# libsndfile's answer where the header gives no length.
_UNKNOWN_LENGTH = 2**62


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
  written_to: str | None = None  # File with all problems, one a line.

  def summary(self) -> str:
    """A line a kind of problem: how many files, and the first names."""
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
  """The path as a string, if it is a folder; else a CorpusError."""
  root = os.fspath(root)
  if not os.path.exists(root):
    raise CorpusError(f"{root}: no such folder; expected {what}")
  if not os.path.isdir(root):
    raise CorpusError(f"{root}: is a file; expected {what}")
  return os.path.abspath(root)


def list_audio(
  root: str, top_folders: Sequence[str] | None = None
) -> tuple[list[tuple[str, int, int]], list[Problem]]:
  """Audio files under a folder by suffix: sorted (path, bytes, mtime in ns).

  Problems come second. Links are followed, names with a dot in front skipped.
  """
  found, problems = [], []

  # Folders on the way down are known by identity, so a link to one of them
  # cannot lead round in circles.
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
  # The order of the whole path, not of the folders: the same everywhere.
  return sorted(found), problems


def probe(path: str) -> tuple[int, int, str]:
  """Samples, rate and error of a file; its last sample must be there."""
  try:
    if os.path.getsize(path) == 0:
      return 0, 0, ""
    with open_sound(path) as file:
      length, rate_hz = file.frames, file.samplerate
      if length >= _UNKNOWN_LENGTH:
        return 0, 0, "the header does not say how long the file is"
      if length > 0:
        file.seek(length - 1)
        if len(file.read(1, dtype="float32")) != 1:
          return 0, 0, f"ends before the {length} samples of its header"
      return max(length, 0), rate_hz, ""
  except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
    return 0, 0, reason_of(error)


def probe_all(root: str, paths: np.ndarray) -> dict[str, tuple[int, int]]:
  """Samples and rate of the files of a list; an error if one is unusable."""
  names = sorted(set(paths.ravel().tolist()))
  with concurrent.futures.ThreadPoolExecutor(NUM_THREADS) as pool:
    found = pool.map(lambda name: probe(os.path.join(root, name)), names)
    probed = dict(zip(names, found, strict=True))
  for name, (length, _, error) in probed.items():
    if error or not length:
      raise CorpusError(
        f"{os.path.join(root, name)}: {error or 'is empty'}; the list needs it"
      )
  return {name: entry[:2] for name, entry in probed.items()}


def read_headers(
  root: str,
  listing: Sequence[tuple[str, int, int]],
  *,
  known: Headers | None = None,
) -> Headers:
  """Probes files in parallel, but none that is known and unchanged."""
  earlier = {}
  if known is not None:
    columns = [column.tolist() for column in vars(known).values()]
    earlier = {row[:3]: row[3:] for row in zip(*columns, strict=True)}
  unknown = [entry for entry in listing if entry not in earlier]
  if len(unknown) > 10_000:
    logging.info("%s: reading %d headers ...", root, len(unknown))
  began = time.monotonic()
  with concurrent.futures.ThreadPoolExecutor(NUM_THREADS) as pool:
    results = pool.map(
      lambda entry: probe(os.path.join(root, entry[0])), unknown
    )
    earlier.update(zip(unknown, results, strict=True))
  if unknown:
    logging.info(
      "%s: read %d headers in %.1f s, %d were known",
      root,
      len(unknown),
      time.monotonic() - began,
      len(listing) - len(unknown),
    )
  rows = [entry + earlier[entry] for entry in listing]
  dtypes = (object, np.int64, np.int64, np.int64, np.int32, object)
  return Headers(
    *(np.array([row[i] for row in rows], d) for i, d in enumerate(dtypes))
  )


def scan(
  root: str,
  *,
  cache_dir: str | os.PathLike[str] | None = None,
  check: Callable[[Headers], Iterable[Problem]] = lambda headers: (),
  top_folders: Sequence[str] | None = None,
) -> tuple[Headers, ScanReport]:
  """The sound files under a folder, with every problem reported by name.

  The headers are kept in the cache folder and read again only where a path,
  size or time of change differs; nothing is written into `root`, which is
  absolute. Broken and empty files, and those that `check` drops, are left
  out; a file whose rate is not that of most files is kept and reported.
  Problems are also logged. No usable file at all is a `CorpusError`.
  """
  listing, problems = list_audio(root, top_folders)
  cache_dir = scan_cache.writable_cache(
    os.path.join(root, *(top_folders or ())), cache_dir
  )
  known = scan_cache.load(cache_dir) if cache_dir else None
  headers = read_headers(root, listing, known=known)
  if cache_dir and listing and not scan_cache.same(headers, known):
    scan_cache.save(cache_dir, headers)
  problems += _header_problems(headers)
  problems += check(headers)
  problems.sort(key=lambda problem: (problem.path, problem.kind))
  report = ScanReport(root, len(listing), tuple(problems))
  if problems:
    report = _write_report(report, cache_dir)
    logging.warning("%s", report.summary())
  dropped = {problem.path for problem in problems if problem.dropped}
  usable = np.array([path not in dropped for path in headers.path], dtype=bool)
  if not usable.any():
    first = f"; {problems[0].path}: {problems[0].detail}" if problems else ""
    raise CorpusError(
      f"{root}: none of its {len(listing)} audio files can be used{first}"
    )
  columns = {name: column[usable] for name, column in vars(headers).items()}
  return Headers(**columns), report


def _header_problems(headers: Headers) -> list[Problem]:
  """Broken and empty files, and those of an unusual rate."""
  problems = []
  rates = headers.rate_hz[headers.length > 0]
  usual = Counter(rates.tolist()).most_common(1)[0][0] if len(rates) else 0
  for path, length, rate_hz, error in zip(
    headers.path, headers.length, headers.rate_hz, headers.error, strict=True
  ):
    if error:
      problems.append(Problem(path, "broken", error))
    elif length == 0:
      problems.append(Problem(path, "empty", "no samples"))
    elif rate_hz != usual:
      detail = f"{rate_hz} Hz, most files have {usual}"
      problems.append(Problem(path, "odd rate", detail, dropped=False))
  return problems


def _write_report(report: ScanReport, cache_dir: str | None) -> ScanReport:
  if cache_dir is None:
    return report
  path = os.path.join(cache_dir, _REPORT_NAME)
  try:
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
      for problem in report.problems:
        print(problem.path, problem.kind, problem.detail, sep="\t", file=file)
  except OSError as error:
    logging.warning("%s: cannot be written (%s)", path, error)
    return report
  return dataclasses.replace(report, written_to=path)
