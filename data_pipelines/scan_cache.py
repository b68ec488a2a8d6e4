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


@dataclasses.dataclass(frozen=True, eq=False)
class Headers:
  """What the headers of some files say; one entry a file in each column.

  Attributes:
    path: Paths relative to the root, sorted (objects of type str).
    size: Bytes, int64.
    mtime_ns: Time of the last change, int64.
    length: Samples, int64; 0 if the file is empty or broken.
    rate_hz: Sample rate, int32; 0 if the file is broken.
    error: Why the file is broken, "" if it is not (objects of type str).
  """

  path: np.ndarray
  size: np.ndarray
  mtime_ns: np.ndarray
  length: np.ndarray
  rate_hz: np.ndarray
  error: np.ndarray


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
    np.array_equal(getattr(headers, f.name), getattr(known, f.name))
    for f in dataclasses.fields(Headers)
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
      version=_CACHE_VERSION,
      path=_pack(headers.path),
      error=_pack(headers.error),
      size=headers.size,
      mtime_ns=headers.mtime_ns,
      length=headers.length,
      rate_hz=headers.rate_hz,
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
      headers = Headers(
        path=_unpack(stored["path"]),
        error=_unpack(stored["error"]),
        size=stored["size"],
        mtime_ns=stored["mtime_ns"],
        length=stored["length"],
        rate_hz=stored["rate_hz"],
      )
  except FileNotFoundError:
    return None
  except Exception as error:  # Whatever a damaged zip file may raise.
    logging.warning("%s: ignored, it is damaged (%s)", path, error)
    return None
  lengths = {len(getattr(headers, f.name)) for f in dataclasses.fields(Headers)}
  return headers if len(lengths) == 1 else None
