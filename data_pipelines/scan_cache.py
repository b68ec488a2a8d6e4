"""Tables in the user's cache folder, as JSON, so that files are read once."""

from __future__ import annotations

import hashlib
import json
import os

from absl import logging


def table_path(
  of: str, name: str, cache_dir: str | os.PathLike[str] | None
) -> str | None:
  """Where a table of a folder or file is kept; None if it cannot be."""
  if cache_dir is None:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    cache_dir = os.path.join(home, "jaxsep")
  digest = hashlib.sha256(os.fsencode(of)).hexdigest()[:16]
  folder = os.path.join(os.fspath(cache_dir), digest)
  try:
    os.makedirs(folder, exist_ok=True)
    if os.access(folder, os.W_OK):
      return os.path.join(folder, name)
    reason = "not writable"
  except OSError as error:
    reason = error.strerror
  logging.warning("%s: not remembered in %s (%s)", of, folder, reason)
  return None


def load(path: str | None) -> dict:
  """A remembered table; empty if there is none that can be used."""
  if path is None or not os.path.exists(path):
    return {}
  try:
    with open(path, encoding="utf-8") as file:
      return dict(json.load(file))
  except (OSError, ValueError, TypeError) as error:
    logging.warning("%s: damaged and ignored (%s)", path, error)
    return {}


def save(path: str | None, table: dict) -> None:
  """Remembers a table."""
  write(path, json.dumps(table))


def write(path: str | None, text: str) -> bool:
  """Writes another file first, so that nobody reads half; whether it could."""
  if path is None:
    return False
  partial = f"{path}.{os.getpid()}.partial"
  try:
    with open(partial, "w", encoding="utf-8", errors="surrogateescape") as file:
      file.write(text)
    os.replace(partial, path)
  except OSError as error:
    logging.warning("%s: cannot be written (%s)", path, error)
    return False
  return True
