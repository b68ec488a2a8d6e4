"""Means and summaries of an evaluation set."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxsep.tasks import Keys, Mean, Task
from jaxsep.train import mesh as mesh_lib
from jaxsep.train.errors import TrainingError
from jaxsep.train.state import pack, reduce


class Evaluator:
  """Evaluates variables on a set of batches, compiled once per shape.

  Batches are padded to the number of devices; what their `mask` leaves out
  does not count.
  """

  def __init__(
    self, task: Task, make_batches: Any, *, mesh: Mesh, frozen: Any = None
  ):
    self._task, self._make_batches = task, make_batches
    self._mesh, self._frozen = mesh, frozen
    has_summary = hasattr(task, "summarize")

    def step(variables, batch, frozen):
      batch = dict(batch)
      mask = batch.pop("mask")
      values = _values(task, variables, batch, frozen)
      sums = {}
      for name, value in values.items():
        if _is_averaged(value, has_summary):
          total, weight = reduce(value, mask)
          sums |= {f"{name}/total": total, f"{name}/weight": weight}
      rows = {**values, "index": batch["index"], "mask": mask}
      return pack(sums), rows if has_summary else ()

    def demo(variables, batch, frozen):
      batch = {name: x for name, x in batch.items() if name != "mask"}
      keys = Keys.evaluation(batch["index"])
      return task.demo(variables, batch, keys=keys, frozen=frozen)

    sharding = mesh_lib.replicated(mesh)
    self._step = jax.jit(step, out_shardings=sharding)
    self._demo = jax.jit(demo, out_shardings=sharding)
    self._first: Any = None
    self._size = 0

  def evaluate(
    self, variables: Any, *, interrupted: Callable[[], bool] = lambda: False
  ) -> dict[str, float] | None:
    """Means and summary by name; None if there is no set, or if interrupted."""
    if self._make_batches is None:
      return None
    results: list[Any] = []
    batches = iter(self._make_batches())
    while (batch := mesh_lib.together(lambda: next(batches, None))) is not None:
      if interrupted():
        return None
      batch = self._padded(batch)
      if self._first is None:
        self._first = batch
      results.append(self._step(variables, batch, self._frozen))
      # One batch is under way while the next is read, and no more.
      if len(results) > 1:
        results[-2] = jax.device_get(results[-2])
    scalars, rows = zip(*jax.device_get(results), strict=True)
    values = _means(scalars)
    if hasattr(self._task, "summarize"):
      summary = self._task.summarize(_rows(rows))
      values |= {name: float(x) for name, x in summary.items()}
    return values

  def demo(self, variables: Any) -> Any:
    """Signals of the first example of the first set."""
    return jax.device_get(self._demo(variables, self._first, self._frozen))

  def _padded(self, batch):
    """A batch on the devices, the last as large as the first."""
    num_devices = self._mesh.local_mesh.size
    size = mesh_lib.batch_size(batch)
    if size < self._size:
      batch = mesh_lib.pad_batch(batch, multiple=self._size)
    batch = mesh_lib.pad_batch(batch, multiple=num_devices)
    self._size = self._size or mesh_lib.batch_size(batch)
    return mesh_lib.shard_batch(batch, self._mesh)


def check_monitor(
  task: Task, make_batches: Any, monitor: str, *, frozen: Any = None
) -> None:
  """Refuses a value to monitor that the evaluation does not give.

  Traces the evaluation of the first batch and computes nothing, unless the
  value is one that `summarize` would have to give.
  """
  if make_batches is None:
    return
  batch = mesh_lib.together(lambda: next(iter(make_batches()), None))
  if batch is None:
    raise TrainingError("the evaluation set has no examples")
  batch = dict(batch)
  mask = batch.pop("mask", np.ones(mesh_lib.batch_size(batch), bool))
  has_summary = hasattr(task, "summarize")

  def values(batch, frozen):
    variables = task.init(jax.random.key(0), batch)
    return _values(task, variables, batch, frozen)

  shapes = jax.eval_shape(values, batch, frozen)
  names = {x for x in shapes if _is_averaged(shapes[x], has_summary)}
  if monitor not in names and has_summary:
    rows = jax.device_get(jax.jit(values)(batch, frozen))
    rows |= {"index": batch["index"], "mask": mask}
    names |= set(task.summarize(_rows([rows])))
  if monitor not in names:
    raise TrainingError(
      f"cannot monitor {monitor!r}: the evaluation gives "
      f"{', '.join(sorted(names))}"
    )


def _values(task, variables, batch, frozen):
  """The task's values of a batch."""
  keys = Keys.evaluation(batch["index"])
  return dict(task.evaluate(variables, batch, keys=keys, frozen=frozen))


def _is_averaged(value, has_summary):
  """Whether a value has a mean, or is for `summarize` only."""
  if isinstance(value, Mean):
    return True
  if jnp.issubdtype(value.dtype, jnp.integer):
    return False
  return value.ndim == 1 or not has_summary


def _means(results):
  """Means by name, of sums per batch."""
  # Added up in float64: a long set is as exact as a short one.
  columns = np.stack([scalars.values for scalars in results], 1)
  totals = (math.fsum(column.tolist()) for column in columns)
  sums = dict(zip(results[0].names, totals, strict=True))
  names = [name.removesuffix("/total") for name in sums if "/total" in name]
  return {
    name: sums[f"{name}/total"] / (sums[f"{name}/weight"] or math.nan)
    for name in names
  }


def _rows(batches):
  """One dict per real example of evaluated batches, in order of the index."""
  rows = []
  for batch in batches:
    mask = batch.pop("mask")
    rows += [
      jax.tree.map(lambda x, i=i: np.asarray(x)[i], batch)
      for i in np.flatnonzero(mask)
    ]
  return sorted(rows, key=lambda row: int(row["index"]))
