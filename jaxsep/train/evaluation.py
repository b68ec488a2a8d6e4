"""Values of an evaluation set: rows of its examples, means and summaries."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxsep.tasks import Batch, Keys, Mean, Task
from jaxsep.train import mesh as mesh_lib
from jaxsep.train.errors import TrainingError


class Evaluator:
  """Evaluates variables on batches, compiled once per shape.

  Batches are those of this process, as many in every process. They are padded
  to the number of devices; examples that their `mask` leaves out do not count.
  The random keys are `Keys.evaluation`.

  Args:
    task: What to evaluate.
    mesh: Devices with the axis "data"; None takes all there are.
    frozen: As in `fit`.
  """

  def __init__(self, task: Task, mesh: Mesh | None = None, frozen: Any = None):
    self._task = task
    self._mesh = mesh_lib.make_mesh() if mesh is None else mesh
    self._frozen = mesh_lib.replicate(frozen, self._mesh)

    def step(variables, batch, frozen):
      index, mask = batch["index"], batch["mask"]
      values = _values(task, variables, batch, frozen)
      return {**values, "index": index, "mask": mask}

    def demo(variables, batch, frozen):
      batch = {name: x for name, x in batch.items() if name != "mask"}
      keys = Keys.evaluation(batch["index"])
      return task.demo(variables, batch, keys=keys, frozen=frozen)

    sharding = mesh_lib.replicated(self._mesh)
    self._step = jax.jit(step, out_shardings=sharding)
    self._demo = jax.jit(demo, out_shardings=sharding)
    self._first: Any = None
    self._size = 0

  def evaluate(
    self,
    variables: Any,
    batches: Iterable[Batch],
    *,
    interrupted: Callable[[], bool] = lambda: False,
  ) -> dict[str, float] | None:
    """Means and summary of a set by name; None if `interrupted` meanwhile.

    Raises:
      TrainingError: If there are no examples.
    """
    results = self._results(variables, batches, interrupted)
    if results is None:
      return None
    rows, has_summary = _rows(results), hasattr(self._task, "summarize")
    values = {
      name: _mean([row[name] for row in rows])
      for name, value in results[0].items()
      if _is_averaged(name, value, has_summary)
    }
    if has_summary:
      summary = self._task.summarize(rows)
      values |= {name: float(x) for name, x in summary.items()}
    return values

  def rows(
    self, variables: Any, batches: Iterable[Batch]
  ) -> list[dict[str, Any]]:
    """All that the task's `evaluate` gives, example by example.

    Returns:
      One dict of NumPy arrays per real example, with its `index` and in the
      order of it, the same in every process.
    """
    return _rows(self._results(variables, batches, lambda: False))

  def demo(self, variables: Any) -> Any:
    """Signals of the first example that was evaluated."""
    return jax.device_get(self._demo(variables, self._first, self._frozen))

  def _results(self, variables, batches, interrupted):
    """Values of every batch on the host; None if interrupted."""
    variables = mesh_lib.replicate(variables, self._mesh)
    results: list[Any] = []
    batches = iter(batches)
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
    if not results:
      raise TrainingError("the evaluation set has no examples")
    return jax.device_get(results)

  def _padded(self, batch):
    """A batch on the devices, the last as large as the first."""
    num_devices = self._mesh.local_mesh.size
    size = mesh_lib.batch_size(batch)
    if size < self._size:
      batch = mesh_lib.pad_batch(batch, multiple=self._size)
    batch = mesh_lib.pad_batch(batch, multiple=num_devices)
    self._size = self._size or mesh_lib.batch_size(batch)
    return mesh_lib.shard_batch(batch, self._mesh)


def check(
  task: Task, batches: Iterable[Batch], monitor: str, *, frozen: Any = None
) -> None:
  """Traces the evaluation of the first batch; nothing is computed.

  Refuses a name to monitor that it does not give, unless `summarize` may.
  """
  batch = mesh_lib.together(lambda: next(iter(batches), None))
  if batch is None:
    raise TrainingError("the evaluation set has no examples")

  def values(batch, frozen):
    variables = task.init(jax.random.key(0), batch)
    return _values(task, variables, batch, frozen)

  shapes = jax.eval_shape(values, dict(batch), frozen)
  if not hasattr(task, "summarize"):
    names = (x for x in shapes if _is_averaged(x, shapes[x], False))
    check_monitor(monitor, names)


def check_monitor(monitor: str, names: Iterable[str]) -> None:
  """Refuses a value to monitor that the evaluation does not give."""
  if monitor not in (names := sorted(names)):
    raise TrainingError(
      f"cannot monitor {monitor!r}: the evaluation gives {', '.join(names)}"
    )


def _values(task, variables, batch, frozen):
  """The task's values of a batch."""
  batch = {name: x for name, x in batch.items() if name != "mask"}
  keys = Keys.evaluation(batch["index"])
  return dict(task.evaluate(variables, batch, keys=keys, frozen=frozen))


def _is_averaged(name, value, has_summary):
  """Whether a value has a mean, or is for `summarize` only."""
  if isinstance(value, Mean):
    return True
  if name == "mask" or jnp.issubdtype(value.dtype, jnp.integer):
    return False
  return value.ndim == 1 or not has_summary


def _mean(values):
  """The mean of one value over the examples."""
  # In float64: a long set is as exact as a short one.
  if isinstance(values[0], Mean):
    total, weight = (
      np.sum([getattr(x, name) for x in values], dtype=np.float64)
      for name in ("total", "weight")
    )
    return float(total / weight) if weight else float("nan")
  return float(np.mean(values, dtype=np.float64))


def _rows(batches):
  """One dict per real example of evaluated batches, in order of the index."""
  rows = []
  for batch in batches:
    values = {name: x for name, x in batch.items() if name != "mask"}
    rows += [
      jax.tree.map(lambda x, i=i: np.asarray(x)[i], values)
      for i in np.flatnonzero(batch["mask"])
    ]
  return sorted(rows, key=lambda row: int(row["index"]))
