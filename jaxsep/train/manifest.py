"""A folder's files, so that damage is found before it is read."""

import json
import os
import pathlib
import zlib
from collections.abc import Mapping
from typing import Any

_MANIFEST = "manifest.json"


def seal(folder: pathlib.Path, beside: Mapping[str, Any]) -> None:
  """Flushes all files of a folder to the disk and lists them in a manifest.

  Args:
    folder: The folder; nothing may be written to it any more.
    beside: JSON values to keep in the manifest.
  """
  files = {}
  for path in sorted(folder.rglob("*")):
    if path.is_file():
      name = path.relative_to(folder).as_posix()
      files[name] = [path.stat().st_size, _checksum(path)]
    flush(path)
  manifest = folder / _MANIFEST
  manifest.write_text(json.dumps({"files": files, "beside": beside}))
  flush(manifest)
  flush(folder)


def read_beside(folder: pathlib.Path) -> dict[str, Any]:
  """The values that were kept in the manifest."""
  return json.loads((folder / _MANIFEST).read_text())["beside"]


def problem(folder: pathlib.Path) -> str | None:
  """What has changed in a folder since it was sealed, or None."""
  try:
    files = json.loads((folder / _MANIFEST).read_text())["files"]
    for name, (size, checksum) in files.items():
      path = folder / name
      if not path.is_file():
        return f"{name} is missing"
      if path.stat().st_size != size:
        return f"{name} has {path.stat().st_size} bytes, not {size}"
      if _checksum(path) != checksum:
        return f"{name} has changed"
  except OSError as error:
    return f"{_MANIFEST} or a file cannot be read: {error.strerror}"
  except (ValueError, TypeError, KeyError):
    return f"{_MANIFEST} is not readable"
  return None


def _checksum(path):
  checksum = 0
  with open(path, "rb") as file:
    while block := file.read(1 << 22):
      checksum = zlib.crc32(block, checksum)
  return checksum


def flush(path: pathlib.Path) -> None:
  """Asks the system to put a file or folder on the disk now."""
  handle = os.open(path, os.O_RDONLY)
  try:
    os.fsync(handle)
  finally:
    os.close(handle)
