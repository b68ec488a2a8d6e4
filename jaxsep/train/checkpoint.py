"""Checkpoints that are complete or not there at all.

A checkpoint is written to a hidden folder, listed in a manifest with the size
and checksum of every file, flushed to the disk, and only then renamed to its
step. Whatever kills the run in between leaves debris that the next start
clears away, and the checkpoints before it untouched.
"""

import os
import pathlib
import shutil
import threading
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from orbax.checkpoint import v1 as ocp

from jaxsep.train import manifest
from jaxsep.train.errors import TrainingError

_REPLACED = ".replaced-"
_ARRAYS = "arrays"


class Checkpoints:
  """The checkpoints of one run, in one folder.

  Saving copies the state on the device and writes the copy in the background.
  All methods are called by every process of the run; the folder is shared.

  Attributes:
    folder: Where the checkpoints are.
    steps: Steps of the checkpoints on disk, oldest first.
  """

  def __init__(
    self,
    folder: str | os.PathLike,
    *,
    keep: int,
    say: Callable[[str], None] = print,
  ):
    if keep < 1:
      raise ValueError(f"keep_checkpoints is {keep}; it is at least 1")
    self.folder = pathlib.Path(folder).absolute()
    self._keep = keep
    self._say = say
    self._writer: threading.Thread | None = None
    self._failure: tuple[int, BaseException] | None = None
    if jax.process_index() == 0:
      self.folder.mkdir(parents=True, exist_ok=True)
      # A kill while a step was saved again left the older one under this name.
      for replaced in self.folder.glob(f"{_REPLACED}*"):
        path = self.folder / replaced.name.removeprefix(_REPLACED)
        if not path.exists():
          os.rename(replaced, path)
      for debris in self.folder.glob(".*"):
        shutil.rmtree(debris, ignore_errors=True)

  @property
  def steps(self) -> list[int]:
    """Steps of the checkpoints on disk, oldest first."""
    return sorted(
      int(path.name) for path in self.folder.glob("[0-9]*") if _is_step(path)
    )

  def newest(self) -> int | None:
    """The newest checkpoint whose files are all as they were written.

    Damaged ones are set aside with a warning that names them.

    Returns:
      Its step, or None if there never was a checkpoint.

    Raises:
      TrainingError: If there are checkpoints and all of them are damaged.
    """
    damaged = []
    for step in reversed(self.steps):
      path = self._path(step)
      problem = manifest.problem(path)
      if problem is None:
        return step
      self._say(f"warning: checkpoint {path} is damaged ({problem})")
      damaged.append(path)
      self._set_aside(path)
    damaged += self.folder.glob("damaged-*")
    if damaged:
      raise TrainingError(
        f"no usable checkpoint is left in {self.folder}: {len(damaged)} "
        "damaged; restore them from a copy, or remove the folder to start over"
      )
    return None

  def restore(self, step: int, like: Any) -> tuple[Any, dict[str, Any]]:
    """Reads a checkpoint into the structure of a state.

    Args:
      step: One of `steps`.
      like: The state as a pytree of `jax.ShapeDtypeStruct` with shardings.

    Returns:
      The state, and the values that were saved beside it.

    Raises:
      TrainingError: If the checkpoint holds other arrays than the state.
    """
    path = self._path(step)
    flat, treedef = _flatten(like)
    with _quiet():
      stored = ocp.metadata(str(path / _ARRAYS)).metadata
    _compare(path, stored, flat)
    with _quiet():
      arrays = ocp.load(str(path / _ARRAYS), flat)
    # Copied, since a buffer of the reader must not be given away to a step.
    arrays = _copy(arrays)
    state = jax.tree.unflatten(treedef, [arrays[name] for name in flat])
    return state, manifest.read_beside(path)

  def save(
    self,
    step: int,
    state: Any,
    *,
    beside: Mapping[str, Any],
    protect: tuple[int, ...] = (),
  ) -> None:
    """Starts to write a checkpoint; waits for the one before it.

    Args:
      step: Its name. A checkpoint of this step is replaced.
      state: A pytree of arrays; it may be donated as soon as this returns.
      beside: JSON values to keep with it.
      protect: Steps that are kept however old they are.

    Raises:
      TrainingError: If this or the write before it fails.
    """
    self.wait()
    hidden = self.folder / f".writing-{step}"
    flat, _ = _flatten(state)
    try:
      if jax.process_index() == 0:
        shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir()
      _barrier(f"checkpoint-{step}")
      with _quiet():
        response = ocp.save_async(str(hidden / _ARRAYS), _copy(flat))
    except Exception as error:  # whatever the file system comes up with
      self._failure = (step, error)
      return self._raise_failure()
    self._writer = threading.Thread(
      target=self._finish,
      args=(step, response, hidden, dict(beside), protect),
      name=f"checkpoint-{step}",
    )
    self._writer.start()

  def wait(self) -> None:
    """Returns when nothing is being written any more.

    Raises:
      TrainingError: If the last write failed.
    """
    if self._writer is not None:
      self._writer.join()
      self._writer = None
    self._raise_failure()

  def close(self) -> None:
    """Lets a write under way finish; a failure of it is said, not raised."""
    try:
      self.wait()
    except TrainingError as error:
      self._say(f"warning: {error}")

  def _finish(self, step, response, hidden, beside, protect):
    """Completes a write, in the background."""
    try:
      response.result()
      if jax.process_index() == 0:
        manifest.seal(hidden, beside)
        self._commit(hidden, step)
        self._prune({step, *protect})
    except Exception as error:
      shutil.rmtree(hidden, ignore_errors=True)
      self._failure = (step, error)

  def _commit(self, hidden, step):
    """Gives a complete checkpoint its name."""
    path = self._path(step)
    replaced = self.folder / f"{_REPLACED}{path.name}"
    shutil.rmtree(replaced, ignore_errors=True)
    if path.exists():
      os.rename(path, replaced)
    os.rename(hidden, path)
    manifest.flush(self.folder)
    shutil.rmtree(replaced, ignore_errors=True)

  def _prune(self, protect):
    """Removes what is older than the checkpoints to keep."""
    for step in self.steps[: -self._keep]:
      if step not in protect:
        self._discard(self._path(step))

  def _discard(self, path):
    """Removes a checkpoint; half removed, it is no longer taken for one."""
    hidden = path.with_name(f".discarded-{path.name}")
    shutil.rmtree(hidden, ignore_errors=True)
    os.rename(path, hidden)
    shutil.rmtree(hidden, ignore_errors=True)

  def _set_aside(self, path):
    """Renames a damaged checkpoint, so that its step can be saved again."""
    aside = path.with_name(f"damaged-{path.name}")
    shutil.rmtree(aside, ignore_errors=True)
    os.rename(path, aside)

  def _raise_failure(self):
    """Turns a failed write into one line."""
    if self._failure is None:
      return
    (step, error), self._failure = self._failure, None
    kept = self.steps
    intact = (
      f"the checkpoint of step {kept[-1]} is intact"
      if kept
      else "there is no earlier one"
    )
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    raise TrainingError(
      f"cannot write the checkpoint of step {step} to {self.folder} "
      f"({reason}); {intact}. Make room there and start the same line again"
    ) from error

  def _path(self, step):
    return self.folder / f"{step:08d}"


def _is_step(path):
  return path.name.isdigit() and path.is_dir()


def _flatten(tree):
  """A pytree as a flat dict by path, and its structure."""
  leaves, treedef = jax.tree_util.tree_flatten_with_path(tree)
  flat = {
    jax.tree_util.keystr(path, simple=True, separator="/"): leaf
    for path, leaf in leaves
  }
  return flat, treedef


# A new buffer per leaf; a plain identity would hand back the same ones.
_copy = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree))


def _compare(path, stored, wanted):
  """Raises if stored arrays and wanted ones differ, naming the first."""
  differences = [f"{name} is missing" for name in wanted if name not in stored]
  differences += [f"{name} is unknown" for name in stored if name not in wanted]
  for name in wanted:
    if name in stored:
      old, new = stored[name], wanted[name]
      if tuple(old.shape) != tuple(new.shape) or old.dtype != new.dtype:
        differences.append(
          f"{name} is {old.dtype}{list(old.shape)}, "
          f"not {new.dtype}{list(new.shape)}"
        )
  if differences:
    more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
    raise TrainingError(
      f"checkpoint {path} is of another model or optimizer: "
      f"{'; '.join(differences[:3])}{more}; go on with the settings it was "
      "made with, or choose another workdir"
    )


def _barrier(name):
  if jax.process_count() > 1:
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices(name)


class _quiet:
  """Keeps the reader's and writer's progress notes out of the terminal."""

  def __enter__(self):
    import logging

    self._logger = logging.getLogger("absl")
    self._level = self._logger.level
    self._logger.setLevel(logging.ERROR)

  def __exit__(self, *error):
    self._logger.setLevel(self._level)
