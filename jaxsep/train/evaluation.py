"""Means over an evaluation set."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
from jax.sharding import Mesh

from jaxsep.metrics import MaskedMean
from jaxsep.tasks import Batch, Task
from jaxsep.train import mesh as mesh_lib
from jaxsep.train.errors import TrainingError

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
      return {
        name: MaskedMean.from_values(value, mask)
        for name, value in values.items()
      }

    def demo(params, model_state, batch):
      batch = {name: x for name, x in batch.items() if name != "mask"}
      return task.demo(params, model_state, batch, key=eval_key())

    self._step = jax.jit(step, out_shardings=sharding)
    self._demo = jax.jit(demo, out_shardings=sharding)
    self._merge = jax.jit(
      lambda one, two: {name: one[name].merge(two[name]) for name in one},
      out_shardings=sharding,
    )
    self._compute = jax.jit(
      lambda total: {
        name: (mean.compute(), mean.count) for name, mean in total.items()
      },
      out_shardings=sharding,
    )
    self._first: Any = None

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
    total = waited = None
    for batch in batches:
      if interrupted():
        return None
      batch = mesh_lib.pad_batch(batch, multiple=self._mesh.local_mesh.size)
      batch = mesh_lib.shard_batch(batch, self._mesh)
      if self._first is None:
        self._first = batch
      means = self._step(params, model_state, batch)
      total = means if total is None else self._merge(total, means)
      # One batch is under way while the next is read, and no more.
      jax.block_until_ready(waited)
      waited = total
    means = jax.device_get(self._compute(total)) if total else {}
    if not any(count for _, count in means.values()):
      raise TrainingError("the evaluation set has no examples")
    return {name: float(mean) for name, (mean, _) in means.items()}

  def demo(self, params: Any, model_state: Any) -> Any:
    """Signals of the first example of the first set."""
    return jax.device_get(self._demo(params, model_state, self._first))

  @property
  def num_traces(self) -> int:
    """How often the evaluation has been compiled."""
    return self._step._cache_size()


def eval_key() -> jax.Array:
  """The root key of evaluation mixtures."""
  return jax.random.key(EVAL_SEED)
