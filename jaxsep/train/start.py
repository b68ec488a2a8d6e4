"""What a run starts from: checks, then a first state or a checkpoint."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxsep import model_io
from jaxsep.train import mesh as mesh_lib
from jaxsep.train import workdir as workdir_lib
from jaxsep.train.checkpoint import unflatten
from jaxsep.train.state import count, trained
from jaxsep.train.step import make_init
from jaxsep.train.variables import tree_hash
from jaxsep.train.writer import say


def describe_run(task, config, plateau, frozen, run_config) -> dict[str, Any]:
  """Everything that fixes a run, as JSON values."""
  frozen = frozen if isinstance(frozen, Mapping) else {"": frozen}
  return {
    "train": dataclasses.asdict(config),
    "plateau": None if plateau is None else dataclasses.asdict(plateau),
    "task": dict(task.describe()),
    "frozen": {
      name: tree_hash(tree) for name, tree in frozen.items() if tree is not None
    },
    "run": dict(run_config or {}),
  }


class Start:
  """The first state of a run, or that of its newest checkpoint.

  Args:
    newest: What `Checkpoints.newest` returned, in process 0.
    mesh: Every device of it gets the whole state.

  Attributes:
    step: Where the run goes on; None at a first start.
    beside: The JSON values saved with the checkpoint.
  """

  def __init__(self, newest: Any, *, mesh: Any):
    self._mesh = mesh
    step, self._arrays, beside = newest or (None, None, None)
    self.step, self.beside = mesh_lib.broadcast_json((step, beside))

  def prepare(self, task, config, optimizer, batch, init_from, folder):
    """Does all checks; returns a function that makes or reads the state."""
    shapes = {
      name: jax.ShapeDtypeStruct(
        np.shape(value), jax.dtypes.canonicalize_dtype(np.asarray(value).dtype)
      )
      for name, value in batch.items()
    }
    make = make_init(task, config, optimizer)
    if self.step is not None:
      init_from = None
    taken: list[str] = []

    def init(init_from):
      state, taken[:] = make(shapes, init_from)
      return state

    like = jax.eval_shape(init, init_from)
    model_io.check_savable(task.model, like.variables)
    mesh_lib.in_first(lambda: _check_space(folder, config, like, self.step))
    if jax.process_index() == 0:
      say(_sizes(like, taken))
    if self.step is not None:
      return lambda: self._restored(like)
    sharding = mesh_lib.replicated(self._mesh)
    return lambda: jax.jit(init, out_shardings=sharding)(init_from)

  def _restored(self, like):
    """The state of the checkpoint, which process 0 has read."""
    arrays, self._arrays = self._arrays, None
    state = mesh_lib.in_first(lambda: unflatten(arrays, like))
    if state is None:
      state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
    else:
      say(f"going on from the checkpoint of step {self.step}")
    return mesh_lib.replicate(mesh_lib.broadcast(state), self._mesh)


def _check_space(folder, config, like, step):
  """Raises before the first step if the disk will not do."""
  size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(like))
  # Those kept, the best, the one being written, the model folders, logs.
  num = config.keep_checkpoints + 3 if step is None else 2
  workdir_lib.check_space(folder, num_bytes=num * size + 20_000_000)


def _sizes(like, taken):
  """How large a model is, and what of it comes from elsewhere."""
  num = count(like.variables.get("params", {}))
  line = f"{num:,} parameters"
  others = count(trained(like.variables)) - num
  if others:
    line += f" and {others:,} of the loss"
  if taken:
    num_arrays = len(jax.tree.leaves(like.variables))
    parts = sorted({"/".join(path.split("/")[:2]) for path in taken})
    line += (
      f"; {len(taken)} of {num_arrays} arrays come from init_from "
      f"({', '.join(parts[:5])}{', ...' if len(parts) > 5 else ''})"
    )
  return line
