"""Means over an evaluation set."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxsep.metrics import MaskedMean
from jaxsep.tasks import Batch, Task
from jaxsep.train import mesh as mesh_lib
from jaxsep.train.errors import TrainingError
from jaxsep.train.state import pack

#: Evaluation mixtures are the same in every run, whatever its seed.
EVAL_SEED = 0


class Evaluator:
  """Evaluates parameters on a set of batches, compiled once per shape.

  Batches are padded to the number of devices; whatever their `mask` leaves
  out counts for nothing.
  """

  def __init__(self, task: Task, *, mesh: Mesh):
    self._mesh = mesh
    sharding = mesh_lib.replicated(mesh)

    def step(params, model_state, batch):
      batch = dict(batch)
      mask = batch.pop("mask")
      values = task.evaluate(params, model_state, batch, key=eval_key())
      totals = {
        name: MaskedMean.from_values(value, mask).total
        for name, value in values.items()
      }
      return pack({**totals, "count": mask.sum()})

    def demo(params, model_state, batch):
      batch = {name: x for name, x in batch.items() if name != "mask"}
      return task.demo(params, model_state, batch, key=eval_key())

    self._step = jax.jit(step, out_shardings=sharding)
    self._demo = jax.jit(demo, out_shardings=sharding)
    self._first: Any = None
    self._size = 0

  def means(
    self,
    params: Any,
    model_state: Any,
    batches: Iterable[Batch],
    *,
    interrupted: Callable[[], bool] = lambda: False,
  ) -> dict[str, float] | None:
    """Means over a set.

    Args:
      params: Parameters.
      model_state: Other variables of the model.
      batches: The set; in every process as many batches.
      interrupted: Asked before every batch.

    Returns:
      Means by name, or None if interrupted.

    Raises:
      TrainingError: If the set has no example.
    """
    totals = []
    for batch in batches:
      if interrupted():
        return None
      batch = self._padded(batch)
      if self._first is None:
        self._first = batch
      totals.append(self._step(params, model_state, batch))
      # One batch is under way while the next is read, and no more.
      if len(totals) > 1:
        jax.block_until_ready(totals[-2])
    # Added up in float64: a long set is as exact as a short one.
    rows = [np.asarray(total.values, np.float64) for total in totals]
    columns = zip(*rows, strict=True)
    names = list(totals[0].names) if totals else []
    sums: dict[str, float] = dict(
      zip(names, map(math.fsum, columns), strict=True)
    )
    count = sums.pop("count", 0.0)
    if not count:
      raise TrainingError("the evaluation set has no examples")
    return {name: total / count for name, total in sums.items()}

  def _padded(self, batch):
    """A batch on the devices, the last as large as the first."""
    num_devices = self._mesh.local_mesh.size
    size = mesh_lib.batch_size(batch)
    if size < self._size:
      batch = mesh_lib.pad_batch(batch, multiple=self._size)
    batch = mesh_lib.pad_batch(batch, multiple=num_devices)
    self._size = self._size or mesh_lib.batch_size(batch)
    return mesh_lib.shard_batch(batch, self._mesh)

  def demo(self, params: Any, model_state: Any) -> Any:
    """Signals of the first example of the first set."""
    return jax.device_get(self._demo(params, model_state, self._first))


def check_monitor(task: Task, batches: Iterable[Batch], monitor: str) -> None:
  """Refuses a value to monitor that the evaluation does not give.

  Traces the evaluation of the first batch; computes nothing.

  Args:
    task: What is evaluated.
    batches: The evaluation set.
    monitor: Name of the value.

  Raises:
    TrainingError: If there is no such value, or no batch.
  """
  batch = next(iter(batches), None)
  if batch is None:
    raise TrainingError("the evaluation set has no examples")
  batch = {name: x for name, x in batch.items() if name != "mask"}

  def values():
    params, model_state = task.init(eval_key(), batch)
    return task.evaluate(params, model_state, batch, key=eval_key())

  names = jax.eval_shape(values)
  if monitor not in names:
    raise TrainingError(
      f"cannot monitor {monitor!r}: the evaluation gives "
      f"{', '.join(sorted(names))}"
    )


def eval_key() -> jax.Array:
  """The root key of evaluation mixtures."""
  return jax.random.key(EVAL_SEED)
