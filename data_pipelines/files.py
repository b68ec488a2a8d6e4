"""The files of a corpus: sound, read in part, and lists of names."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import soundfile

# (full path, first sample, number of samples) -> float32 samples [T], or
# [P, T] of several parts.
Reader = Callable[[str, int, int], np.ndarray]


class CorpusError(ValueError):
  """A corpus that cannot be used as asked; the message is one line."""


def open_sound(path: str) -> soundfile.SoundFile:
  """Opens an audio file, whatever bytes its name is made of."""
  # soundfile cannot encode a name that is not Unicode, but takes bytes.
  name: Any = os.fsencode(path) if os.name == "posix" else path
  return soundfile.SoundFile(name)


def reason_of(error: Exception) -> str:
  """The first reason that libsndfile or the system gives, on one line."""
  reasons = (getattr(error, n, None) for n in ("strerror", "error_string"))
  reason = next(filter(None, reasons), str(error))
  return " ".join(reason.split()).rstrip(".")


def read_file(
  path: str, start: int, length: int, *, channel: int | None = None
) -> np.ndarray:
  """Part of an audio file, decoding nothing else.

  Args:
    path: Any file that soundfile reads.
    start: First sample.
    length: Number of samples.
    channel: The channel to take; None averages all channels, which is right
      for speech and wrong for RIRs.

  Returns:
    float32 samples at the file's own rate, shape `[length]`. Integer formats
    lie in [-1, 1); floating-point formats are returned as they are.

  Raises:
    CorpusError: If the file cannot be opened, ends before `start + length`,
      lacks the channel, or holds NaN or infinite samples there.
  """
  try:
    with open_sound(path) as file:
      if start:
        file.seek(start)
      samples = file.read(length, dtype="float32")
  except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
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
  """Reads a channel; the same function each time, so that corpora can join."""
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


def read_names(path: str | os.PathLike[str]) -> list[str]:
  """The names in a text file, one a line; blank lines and `#` lines skipped.

  Args:
    path: The file.

  Returns:
    The names, stripped, in the file's order.

  Raises:
    CorpusError: If the file cannot be read or names nothing.
  """
  try:
    with open(path, encoding="utf-8") as file:
      names = [line.strip() for line in file]
  except (OSError, UnicodeDecodeError) as error:
    raise CorpusError(f"{path}: no readable list of names ({error})") from None
  names = [name for name in names if name and not name.startswith("#")]
  if not names:
    raise CorpusError(f"{path}: names nothing; expected one name a line")
  return names
