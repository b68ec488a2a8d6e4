"""Checkpoints of a run: Orbax writes them, in the background.

The state is the same on every device, so process 0 alone reads and writes.
Orbax makes a checkpoint visible once it is complete; a checksum beside the
arrays tells later if they are still what was written.
"""

import contextlib
import gc
import json
import logging
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from jaxsep.train.errors import TrainingError

_NAMES = ocp.path.step.standard_name_format(step_format_fixed_length=8)


def has_checkpoint(workdir: epath.PathLike) -> bool:
  """Whether a folder, which need not be there, has a run to go on with."""
  folder = epath.Path(workdir)
  steps = _NAMES.find_all(folder / "checkpoints")
  return (folder / "config.json").exists() and any(True for _ in steps)


class Checkpoints:
  """The checkpoints of one run; that of the step `best` is always kept."""

  def __init__(
    self,
    folder: epath.PathLike,
    *,
    keep: int,
    say: Callable[[str], None] = print,
  ):
    self.best: int | None = None
    self._folder = epath.Path(folder)
    self._keep = keep
    self._say = say
    self._folder.mkdir(parents=True, exist_ok=True)
    with _quiet():
      self._manager = ocp.CheckpointManager(
        self._folder,
        options=ocp.CheckpointManagerOptions(
          create=False,
          preservation_policy=self,
          step_name_format=_NAMES,
          cleanup_tmp_directories=True,
          multiprocessing_options=ocp.options.MultiprocessingOptions(
            primary_host=0,
            active_processes={0},
            barrier_sync_key_prefix="process_0",
          ),
        ),
      )

  @property
  def steps(self) -> list[int]:
    """Steps of the complete checkpoints, oldest first."""
    return sorted(self._manager.all_steps())

  def should_preserve(self, checkpoints: Any, *, context: Any) -> list[bool]:
    """Tells Orbax which checkpoints to keep: the latest and the best."""
    del context
    latest = sorted(info.step for info in checkpoints)[-self._keep :]
    return [info.step in (*latest, self.best) for info in checkpoints]

  def newest(self) -> tuple[int, dict[str, np.ndarray], dict] | None:
    """Step, arrays by path and JSON values of the newest good checkpoint.

    Damaged ones are set aside with a warning; it is an error if all are
    damaged. None if there never was a checkpoint.
    """
    for step in reversed(self.steps):
      try:
        return step, *self._read(step)
      except Exception as error:  # whatever a damaged file leads to
        path = self._folder / f"{step:08d}"
        reason = _one_line(error)
        self._say(f"warning: checkpoint {path} is damaged ({reason})")
        path.rename(self._folder / f"damaged-{path.name}")
        self._manager.reload()
    if damaged := list(self._folder.glob("damaged-*")):
      raise TrainingError(
        f"no usable checkpoint is left in {self._folder}: {len(damaged)} "
        "damaged; restore them from a copy, or remove the folder to start over"
      )
    return None

  def save(self, step: int, state: Any, *, beside: Mapping[str, Any]) -> None:
    """Starts to write a state and the JSON values `beside` it.

    Waits for the write before; does nothing if the step has a checkpoint. The
    state may be donated as soon as this returns.
    """
    self.wait()
    if step in self.steps:
      return
    arrays = flatten(state)
    text = json.dumps(beside)
    beside = {"text": text, "checksum": _checksum(arrays, text)}
    items = ocp.args.Composite(
      arrays=ocp.args.StandardSave(arrays), beside=ocp.args.JsonSave(beside)
    )
    with self._failures(), _quiet():
      self._manager.save(step, args=items, force=True)

  def wait(self) -> None:
    """Returns when nothing is being written any more; raises if that failed."""
    with self._failures(), _quiet():
      self._manager.wait_until_finished()

  def close(self) -> None:
    """Lets a write under way finish; a failure of it is said, not raised."""
    try:
      self.wait()
    except TrainingError as error:
      self._say(f"warning: {error}")
    with contextlib.suppress(Exception):
      self._manager.close()

  def _read(self, step):
    """Arrays and values of a checkpoint, compared with their checksum."""
    items = ocp.args.Composite(
      arrays=ocp.args.StandardRestore(), beside=ocp.args.JsonRestore()
    )
    with _quiet():
      stored = self._manager.restore(step, args=items)
    arrays, beside = dict(stored["arrays"]), stored["beside"]
    if _checksum(arrays, beside["text"]) != beside["checksum"]:
      raise ValueError("its content is not what was written")
    return arrays, json.loads(beside["text"])

  @contextlib.contextmanager
  def _failures(self) -> Iterator[None]:
    """Turns a failed write into one line."""
    try:
      yield
    except Exception as error:  # whatever the file system comes up with
      self._manager.reload()
      intact = "there is no earlier one"
      if self.steps:
        intact = f"the checkpoint of step {self.steps[-1]} is intact"
      raise TrainingError(
        f"cannot write a checkpoint to {self._folder} ({_one_line(error)}); "
        f"{intact}. Make room there and start the same line again"
      ) from error


def flatten(state: Any) -> dict[str, np.ndarray]:
  """Copies a pytree of arrays to the host, by path."""
  # Copied, since on a CPU the host's array is the device's.
  return {
    name: np.array(leaf.addressable_data(0))
    for name, leaf in by_path(state).items()
  }


def unflatten(arrays: Mapping[str, np.ndarray], like: Any) -> Any:
  """Puts arrays by path into the structure of `jax.ShapeDtypeStruct`s."""
  wanted = by_path(like)
  differences = [f"{name} is missing" for name in wanted if name not in arrays]
  differences += [f"{name} is unknown" for name in arrays if name not in wanted]
  for name in [name for name in wanted if name in arrays]:
    old, new = (
      f"{x.dtype}{list(x.shape)}" for x in (arrays[name], wanted[name])
    )
    if old != new:
      differences.append(f"{name} is {old}, not {new}")
  if differences:
    more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
    raise TrainingError(
      "the checkpoint is of another model or optimizer: "
      f"{'; '.join(differences[:3])}{more}; go on with the settings it was "
      "made with, or choose another workdir"
    )
  treedef = jax.tree.structure(like)
  return jax.tree.unflatten(treedef, [arrays[name] for name in wanted])


def by_path(tree):
  """Leaves of a tree by their path."""
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def _checksum(arrays, text):
  """Of everything that a checkpoint holds."""
  checksum = zlib.crc32(text.encode())
  for name in sorted(arrays):
    flat: Any = np.ascontiguousarray(arrays[name]).reshape(-1)
    checksum = zlib.crc32(flat.view(np.uint8), checksum)
  return checksum


def _one_line(error):
  return " ".join(str(error).split())[:200] or type(error).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Keeps messages of Orbax and its event loop out of the terminal."""
  loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
  levels = [logger.level for logger in loggers]
  hook = sys.unraisablehook

  def unraisable(args):
    # Writers that are still running when another one has failed.
    if "Event loop is closed" not in str(args.exc_value):
      hook(args)

  for logger in loggers:
    logger.setLevel(logging.CRITICAL)
  sys.unraisablehook = unraisable
  try:
    yield
  finally:
    # What went wrong in Orbax's threads is reported when it is collected.
    if sys.exc_info()[0] is not None:
      gc.collect()
    sys.unraisablehook = hook
    for logger, level in zip(loggers, levels, strict=True):
      logger.setLevel(level)
