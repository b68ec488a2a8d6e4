"""The files of a corpus: sound, read in part, and lists of names."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import soundfile

from data_pipelines._quiet import quiet

# (full path, first sample, number of samples) -> float32 samples [T], or
# [P, T] of several parts.
Reader = Callable[[str, int, int], np.ndarray]


class CorpusError(ValueError):
  """A corpus that cannot be used as asked; the message is one line."""


#: What soundfile raises; a ValueError where it loses count in damaged MP3.
SOUND_ERRORS = (OSError, RuntimeError, ValueError)


@contextlib.contextmanager
def open_sound(path: str) -> Iterator[soundfile.SoundFile]:
  """Opens an audio file; its name may hold bytes that are not Unicode."""
  # soundfile cannot encode a name that is not Unicode, but takes bytes.
  name: Any = os.fsencode(path) if os.name == "posix" else path
  with quiet():
    file = soundfile.SoundFile(name)
  with file, quiet(file):
    yield file


def reason_of(error: Exception) -> str:
  """The first reason that libsndfile or the system gives, on one line."""
  if isinstance(error, ValueError):
    return "damaged: its samples cannot be found"
  for name in ("strerror", "error_string"):
    if reason := getattr(error, name, None):
      return " ".join(reason.split()).rstrip(".")
  return " ".join(str(error).split())


def read_file(
  path: str, start: int, length: int, *, channel: int | None = None
) -> np.ndarray:
  """Part of an audio file; nothing else is decoded.

  Args:
    path: Any file that soundfile reads.
    start: First sample.
    length: Number of samples.
    channel: The channel to take. None averages all, which suits speech but
      not RIRs.

  Returns:
    float32 `[length]` at the file's own rate: integer formats in [-1, 1),
    floating-point formats as they are.

  Raises:
    CorpusError: If the file cannot be opened, ends before `start + length`,
      lacks the channel, or holds NaN or infinite samples there.
  """
  try:
    with open_sound(path) as file:
      if start:
        file.seek(start)
      samples = file.read(length, dtype="float32")
  except SOUND_ERRORS as error:
    reason = reason_of(error) if os.path.exists(path) else "no such file"
    raise CorpusError(f"{path}: cannot be read ({reason})") from None
  if len(samples) != length:
    raise CorpusError(
      f"{path}: samples {start} to {start + length} wanted, but the file"
      f" ends after {start + len(samples)}; it is damaged or has changed"
      " since it was scanned"
    )
  samples = one_channel(samples, path, channel)
  if not np.isfinite(samples).all():
    raise CorpusError(f"{path}: holds NaN or infinite samples")
  return samples


def one_channel(
  samples: np.ndarray, path: str, channel: int | None
) -> np.ndarray:
  """A channel of `[T]` or `[T, C]`, or the average of all, `[T]`."""
  if channel is None:
    return samples.mean(axis=1) if samples.ndim == 2 else samples
  stacked = samples.reshape(len(samples), -1)
  if channel >= stacked.shape[1]:
    raise CorpusError(
      f"{path}: has {stacked.shape[1]} channels, so no channel {channel}"
    )
  return np.ascontiguousarray(stacked[:, channel])


@functools.cache
def channel_reader(channel: int | None) -> Reader:
  """Reads a channel; the same function each time, for `concatenate`."""
  if channel is None:
    return read_file
  return functools.partial(read_file, channel=channel)


@functools.cache
def parts_reader(folders: tuple[str, ...]) -> Reader:
  """Reads `root/*/name` from several folders in place of the star, stacked."""

  def read(path: str, start: int, length: int) -> np.ndarray:
    root, _, name = path.rpartition("/*/")
    files = [os.path.join(root, folder, name) for folder in folders]
    return np.stack([read_file(file, start, length) for file in files])

  return read


def read_text(path: str | os.PathLike[str]) -> str:
  """The text of a file, line ends as they are."""
  try:
    with open(path, encoding="utf-8-sig", newline="") as file:
      return file.read()
  except (OSError, UnicodeDecodeError) as error:
    raise CorpusError(f"{path}: cannot be read ({error})") from None


def read_csv(
  path: str | os.PathLike[str],
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
  """Column names of a CSV file, and number and values of each line."""
  reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
  rows = []
  try:
    names = list(reader.fieldnames or ())
    for row in reader:
      if None in row or None in row.values():
        raise CorpusError(
          f"{path}: line {reader.line_num}: expected {len(names)} values, as in"
          " the header"
        )
      rows.append((reader.line_num, row))
  except csv.Error as error:
    raise CorpusError(f"{path}: cannot be read ({error})") from None
  return names, rows


def read_names(path: str | os.PathLike[str]) -> list[str]:
  """The names in a text file, one per line; blank lines and `#` lines skipped.

  Args:
    path: The file.

  Returns:
    The names, stripped, in the order of the file.

  Raises:
    CorpusError: If the file cannot be read or has no name.
  """
  names = [line.strip() for line in read_text(path).split("\n")]
  names = [name for name in names if name and not name.startswith("#")]
  if not names:
    raise CorpusError(f"{path}: names nothing; expected one name per line")
  return names
