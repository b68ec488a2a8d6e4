"""Remembers what the headers of a corpus said, so they are read once."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterable

import numpy as np
from absl import logging

_CACHE_VERSION = 1
_TABLE_NAME = ".scan.npz"
_STRINGS = ("path", "error")


@dataclasses.dataclass(frozen=True, eq=False)
class Headers:
  """What the headers of some files say; one entry a file in each column."""

  path: np.ndarray  # Relative to the root, sorted (objects of type str).
  size: np.ndarray  # Bytes, int64.
  mtime_ns: np.ndarray  # Time of the last change, int64.
  length: np.ndarray  # Samples, int64; 0 if the file is empty or broken.
  rate_hz: np.ndarray  # int32; 0 if the file is broken.
  error: np.ndarray  # Why it is broken, "" if not (objects of type str).


def writable_cache(
  root: str, cache_dir: str | os.PathLike[str] | None
) -> str | None:
  """The folder to keep this root's files in; None if it cannot be made."""
  if cache_dir is None:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    cache_dir = os.path.join(home, "jaxsep")
  digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
  folder = os.path.join(os.fspath(cache_dir), digest)
  try:
    os.makedirs(folder, exist_ok=True)
    if os.access(folder, os.W_OK):
      return folder
    reason = "not writable"
  except OSError as error:
    reason = error.strerror
  logging.warning("%s: scan not remembered in %s (%s)", root, folder, reason)
  return None


def same(headers: Headers, known: Headers | None) -> bool:
  """Whether two tables say the same of the same files."""
  return known is not None and all(
    np.array_equal(column, getattr(known, name))
    for name, column in vars(headers).items()
  )


def _pack(strings: Iterable[str]) -> np.ndarray:
  """Strings as bytes, so that no pickle is needed; no path holds a NUL."""
  joined = "\0".join(strings).encode("utf-8", "surrogateescape")
  return np.frombuffer(joined, dtype=np.uint8)


def _unpack(packed: np.ndarray) -> np.ndarray:
  text = packed.tobytes().decode("utf-8", "surrogateescape")
  return np.array(text.split("\0"), dtype=object)


def save(folder: str, headers: Headers) -> None:
  """Writes the table under another name first: readers never see half."""
  path = os.path.join(folder, _TABLE_NAME)
  partial = f"{path}.{os.getpid()}.partial.npz"
  try:
    np.savez_compressed(
      partial,
      **vars(headers)
      | {name: _pack(getattr(headers, name)) for name in _STRINGS},
      version=_CACHE_VERSION,
    )
    os.replace(partial, path)
  except OSError as error:
    logging.warning("%s: cannot be written (%s)", path, error)


def load(folder: str) -> Headers | None:
  """The remembered headers; None if there are none that can be used."""
  path = os.path.join(folder, _TABLE_NAME)
  try:
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
      if stored["version"] != _CACHE_VERSION:
        return None
      columns = {f.name: stored[f.name] for f in dataclasses.fields(Headers)}
      columns |= {name: _unpack(columns[name]) for name in _STRINGS}
  except FileNotFoundError:
    return None
  except Exception as error:  # Whatever a damaged zip file may raise.
    logging.warning("%s: ignored, it is damaged (%s)", path, error)
    return None
  same_length = len(set(map(len, columns.values()))) == 1
  return Headers(**columns) if same_length else None
