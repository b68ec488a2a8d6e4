"""What a run starts from: a first state, or that of a checkpoint."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxsep import model_io
from jaxsep.train import mesh as mesh_lib
from jaxsep.train import workdir as workdir_lib
from jaxsep.train.checkpoint import by_path, unflatten
from jaxsep.train.pace import say
from jaxsep.train.state import count, trained
from jaxsep.train.step import make_init
from jaxsep.train.variables import tree_hash


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


def first_state(setup, batch, *, restored, init_from, folder, mesh):
  """Does the checks that need a batch; makes or restores the state.

  `setup` is the task, the config and the optimizer; `restored` the step of the
  checkpoint, None without one, and its arrays, in process 0.
  """
  (_, config, _), (step, arrays) = setup, restored
  shapes = {
    name: jax.ShapeDtypeStruct(
      np.shape(value), jax.dtypes.canonicalize_dtype(np.asarray(value).dtype)
    )
    for name, value in batch.items()
  }
  make = make_init(*setup)
  if step is not None:
    init_from = None
  taken: list[str] = []

  def init(init_from):
    state, taken[:] = make(shapes, init_from)
    return state

  like = jax.eval_shape(init, init_from)
  model_io.check_savable(setup[0].model, like.variables)
  mesh_lib.in_first(lambda: _check_space(folder, config, like, step))
  say(_sizes(like, config.fixed, taken))
  if step is None:
    sharding = mesh_lib.replicated(mesh)
    return jax.jit(init, out_shardings=sharding)(init_from)
  state = mesh_lib.in_first(lambda: unflatten(arrays, like))
  if state is None:
    state = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
  say(f"going on from the checkpoint of step {step}")
  return mesh_lib.replicate(mesh_lib.broadcast(state), mesh)


def _check_space(folder, config, like, step):
  """Raises before the first step if the disk will not do."""
  size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(like))
  # Those kept, the best, the one being written, the model folders, logs.
  num = config.keep_checkpoints + 3 if step is None else 2
  workdir_lib.check_space(folder, num_bytes=num * size + 20_000_000)


def _sizes(like, fixed, taken):
  """How large a model is, and what of it comes from elsewhere."""
  num = count(like.variables.get("params", {}))
  line = f"{num:,} parameters"
  num_trained = count(trained(like.variables))
  if others := num_trained - num:
    line += f" and {others:,} of the loss"
  if num_fixed := num_trained - count(trained(like.variables, fixed)):
    line += f", {num_fixed:,} of them fixed"
  if taken:
    paths = list(by_path(like.variables))
    line += (
      f"; {len(taken)} of {len(paths)} arrays come from init_from "
      f"({_parts(taken)})"
    )
    # Of a module, one collection may be given and another one forgotten.
    modules = {_module(path) for path in taken}
    left = {x for x in paths if _module(x) in modules}.difference(taken)
    if left:
      line += f"; not given, and so new: {_parts(left)}"
  return line


def _module(path):
  """The module of an array, without its collection."""
  return "/".join(path.split("/")[1:-1])


def _parts(paths):
  """The first two names of some paths."""
  parts = sorted({"/".join(path.split("/")[:2]) for path in paths})
  return ", ".join(parts[:5]) + ", ..." * (len(parts) > 5)
