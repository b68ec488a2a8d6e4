"""The folder of a run: whose it is, who writes to it, what made it."""

import contextlib
import fcntl
import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxsep.train.errors import TrainingError

_CONFIG = "config.json"
_FORMAT = "jaxsep run"

#: Options of the loop that a continued run may change.
MAY_CHANGE = (
  "train.num_steps",
  "train.log_every",
  "train.eval_every",
  "train.checkpoint_every",
  "train.keep_checkpoints",
  "train.demo_every",
  "train.early_stop_patience",
  "train.max_skipped_in_row",
  "train.tensorboard",
  "train.progress",
  "train.optimizer.num_microbatches",
)


@contextlib.contextmanager
def open_workdir(
  folder: str | os.PathLike,
  config: Mapping[str, Any],
  *,
  may_change: Sequence[str] = MAY_CHANGE,
) -> Iterator[pathlib.Path]:
  """Makes or reopens the folder of a run, and holds it while in use.

  Args:
    folder: New, empty, or left by an earlier start of the same run.
    config: JSON values that fix the run.
    may_change: Dotted keys of it that may differ from the earlier start.

  Yields:
    The folder.

  Raises:
    TrainingError: If it cannot be written, holds something else, is in use,
      or was made with another config.
  """
  path = pathlib.Path(folder).absolute()
  try:
    path.mkdir(parents=True, exist_ok=True)
    _refuse_foreign(path)
    with open(path / ".lock", "a") as lock:
      _lock(path, lock)
      earlier = read_config(path)
      config = json.loads(json.dumps(config))
      if earlier is not None:
        _refuse_changes(path, earlier, config, may_change)
      _replace(path / _CONFIG, {"format": _FORMAT, "version": 1, **config})
      for name in ("best", "last"):
        _recover_folder(path / name)
      yield path
  except OSError as error:
    if error.filename is None or not str(error.filename).startswith(str(path)):
      raise
    raise TrainingError(
      f"cannot write to the workdir {path} ({error.strerror}); choose another"
    ) from error


def read_config(folder: str | os.PathLike) -> dict[str, Any] | None:
  """Reads what made a run.

  Args:
    folder: A workdir.

  Returns:
    The config that `open_workdir` was given, or None if there is none.

  Raises:
    TrainingError: If the folder is of something else.
  """
  path = pathlib.Path(folder) / _CONFIG
  if not path.exists():
    return None
  try:
    config = json.loads(path.read_text())
    if config.pop("format") != _FORMAT:
      raise KeyError("format")
    version = config.pop("version")
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise TrainingError(
      f"{path} is not the config of a run; choose another workdir"
    ) from error
  if version != 1:
    raise TrainingError(f"{path} was written by a newer jaxsep")
  return config


def check_space(folder: pathlib.Path, *, num_bytes: int) -> None:
  """Raises TrainingError unless the disk has room for so many bytes."""
  free = shutil.disk_usage(folder).free
  if free < num_bytes:
    raise TrainingError(
      f"{folder} has {free / 1e6:.0f} MB free, but the checkpoints of this "
      f"run need about {num_bytes / 1e6:.0f} MB; make room, lower "
      "keep_checkpoints or choose another workdir"
    )


@contextlib.contextmanager
def replaced_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields a new folder that then takes the place of an older one."""
  new, old = path.with_name(f".new-{path.name}"), _old(path)
  shutil.rmtree(new, ignore_errors=True)
  yield new
  shutil.rmtree(old, ignore_errors=True)
  if path.exists():
    os.rename(path, old)
  os.rename(new, path)
  shutil.rmtree(old, ignore_errors=True)


def _recover_folder(path):
  """Undoes a replacement that was cut off between its two renames."""
  if _old(path).exists() and not path.exists():
    os.rename(_old(path), path)


def _old(path):
  return path.with_name(f".old-{path.name}")


def _refuse_foreign(path):
  """Raises if a folder holds things but no run; the caller's logs may stay."""
  if (path / _CONFIG).exists():
    return
  names = sorted(
    entry.name
    for entry in path.iterdir()
    if not entry.name.startswith(".") and entry.suffix not in (".log", ".out")
  )
  if names:
    raise TrainingError(
      f"the workdir {path} holds something else ({', '.join(names[:3])}"
      f"{', ...' if len(names) > 3 else ''}); choose a new or empty one"
    )


def _lock(path, file):
  """Raises if another process holds the folder; it lets go when it dies."""
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError as error:
    raise TrainingError(
      f"another process is training in {path}; wait for it or stop it"
    ) from error
  except OSError:
    # A file system without locks; the user is on their own.
    pass


def _refuse_changes(path, earlier, config, may_change):
  """Raises if a run would go on with settings that it was not made with."""
  old, new = _dotted(earlier), _dotted(config)
  differences = [
    f"{key} is {json.dumps(new.get(key))}, was {json.dumps(old.get(key))}"
    for key in sorted(old.keys() | new.keys())
    if old.get(key) != new.get(key) and not _covered(key, may_change)
  ]
  if differences:
    more = f" and {len(differences) - 5} more" if len(differences) > 5 else ""
    raise TrainingError(
      f"{path} was started with another config: "
      f"{'; '.join(differences[:5])}{more}; undo that to go on, or choose "
      "another workdir"
    )


def _covered(key, prefixes):
  return any(key == p or key.startswith(p + ".") for p in prefixes)


def _dotted(tree, prefix=""):
  """A nested dict as a flat one with dotted keys."""
  flat = {}
  for name, value in tree.items():
    if isinstance(value, dict) and value:
      flat.update(_dotted(value, f"{prefix}{name}."))
    else:
      flat[prefix + name] = value
  return flat


def _replace(path, value):
  """Writes JSON in one piece or not at all."""
  hidden = path.with_name(f".{path.name}")
  with open(hidden, "w") as file:
    file.write(json.dumps(value, indent=2) + "\n")
    file.flush()
    os.fsync(file.fileno())
  os.replace(hidden, path)
