"""The folder of a run: which run it belongs to, and its config.

A workdir is a path on this machine or in a bucket (`gs://`, `s3://`), which
needs the packages of `etils[epath-gcs]` or `etils[epath-s3]`. No test here uses
a real bucket.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Buckets are reached by fsspec: TensorFlow stays out of the training process.
os.environ.setdefault("EPATH_USE_TF", "0")

from etils import epath
from flax.traverse_util import flatten_dict

from jaxsep.train.errors import TrainingError

_CONFIG = "config.json"
_FORMAT = "jaxsep run"

#: Options of the loop that a continued run may not change.
_FIXED = (
  "train.seed",
  "train.fixed",
  "train.ema_decay",
  "train.monitor",
  "train.monitor_mode",
)


def as_path(folder: epath.PathLike) -> epath.Path:
  """A workdir as a path; raises if its scheme cannot be opened."""
  scheme, found, _ = os.fspath(folder).partition("://")
  if not found:
    return epath.Path(os.path.abspath(os.path.expanduser(folder)))
  try:
    path = epath.Path(folder)
    if is_local(path):
      raise ValueError(f"unknown scheme {scheme}://")
    path.exists()
  except Exception as error:  # each kind of bucket has its own
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    raise TrainingError(
      f"cannot open {os.fspath(folder)} ({reason}); buckets need "
      "pip install 'jaxsep[cloud]' and your credentials"
    ) from error
  return path


def is_local(path: epath.Path) -> bool:
  """Whether a path is on a file system, with appends and locks."""
  return "://" not in os.fspath(path)


@contextlib.contextmanager
def open_workdir(
  folder: epath.PathLike,
  config: Mapping[str, Any],
  *,
  may_change: Sequence[str] = (),
) -> Iterator[epath.Path]:
  """Makes or reopens the folder of a run, and locks it while in use."""
  path = as_path(folder)
  try:
    path.mkdir(parents=True, exist_ok=True)
    _refuse_foreign(path)
    with _locked(path):
      earlier = read_config(path)
      if earlier is not None:
        config = json.loads(json.dumps(config))
        _refuse_changes(path, earlier, config, may_change)
      yield path
  except OSError as error:
    if not str(error.filename or "").startswith(os.fspath(path)):
      raise
    raise TrainingError(
      f"cannot write to the workdir {path} ({error.strerror}); choose another"
    ) from error


def write_config(path: epath.Path, config: Mapping[str, Any]) -> None:
  """Writes what fixes a run, in one piece or not at all."""
  text = json.dumps({"format": _FORMAT, **config}, indent=2) + "\n"
  hidden = path / f".{_CONFIG}"
  hidden.write_text(text)
  hidden.replace(path / _CONFIG)


def read_config(folder: epath.PathLike) -> dict[str, Any] | None:
  """Reads what made a run.

  Args:
    folder: A workdir.

  Returns:
    `{"train": ..., "task": ..., "run": ...}`: the options of the loop, the
    task's description and the `run_config` of `fit`; None if there is none.

  Raises:
    TrainingError: If the folder is of something else.
  """
  path = as_path(folder) / _CONFIG
  if not path.exists():
    return None
  try:
    config = json.loads(path.read_text())
    if config.pop("format") != _FORMAT:
      raise KeyError("format")
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise TrainingError(
      f"{path} is not the config of a run; choose another workdir"
    ) from error
  return config


def check_space(folder: epath.Path, *, num_bytes: int) -> None:
  """Raises TrainingError unless the disk has room for so many bytes."""
  if not is_local(folder):
    return
  free = shutil.disk_usage(folder).free
  if free < num_bytes:
    raise TrainingError(
      f"{folder} has {free / 1e6:.0f} MB free, but the checkpoints of this "
      f"run need about {num_bytes / 1e6:.0f} MB; make room, lower "
      "keep_checkpoints or choose another workdir"
    )


def _refuse_foreign(path):
  """Raises if a folder holds anything but a run, hidden files and logs."""
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


@contextlib.contextmanager
def _locked(path):
  """Refuses a folder that another process holds; it lets go when it dies."""
  if not is_local(path):
    yield
    return
  import fcntl

  with open(path / ".lock", "a") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise TrainingError(
        f"another process is training in {path}; wait for it or stop it"
      ) from error
    except OSError:
      pass  # A file system without locks.
    yield


def _refuse_changes(path, earlier, config, may_change):
  """Raises if a run would go on with settings that it was not made with."""
  old, new = (flatten_dict(tree, sep=".") for tree in (earlier, config))
  differences = [
    f"{key} is {json.dumps(new.get(key))}, was {json.dumps(old.get(key))}"
    for key in sorted(old.keys() | new.keys())
    if old.get(key) != new.get(key) and not _may_change(key, may_change)
  ]
  if differences:
    more = f" and {len(differences) - 5} more" if len(differences) > 5 else ""
    raise TrainingError(
      f"{path} was started with another config: "
      f"{'; '.join(differences[:5])}{more}; undo that to go on, or choose "
      "another workdir"
    )


def _may_change(key, prefixes):
  """Whether a continued run may change a key; `remat` costs time only."""
  if key.startswith("train."):
    return key not in _FIXED
  listed = any(f"{key}.".startswith(f"{prefix}.") for prefix in prefixes)
  return listed or key.endswith(".remat")
