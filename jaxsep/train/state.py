"""The state of a run, what is left of it, and collections of variables."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxsep.train.errors import TrainingError

#: Collections that the optimizer trains.
TRAINED = ("params", "loss_params")


@struct.dataclass
class TrainState:
  """Everything that a training step reads and writes.

  Random keys are not part of it: they are folded from the seed, the step and
  the index of an example. The position in the data is `step` alone.

  Attributes:
    step: Steps done, skipped updates included; int32.
    variables: All collections of the task.
    opt_state: State of the optimizer.
    ema: Moving average of every collection but `constants`, or None.
    update_scale: Factor of the updates, after the plateaus so far; float32.
    skipped: Updates skipped so far; int32.
    skipped_in_row: Updates skipped since the last good one; int32.
  """

  step: Any
  variables: Any
  opt_state: Any
  ema: Any
  update_scale: Any
  skipped: Any
  skipped_in_row: Any

  @property
  def eval_variables(self) -> Any:
    """The variables to use: the moving averages where there are any."""
    return {**self.variables, **(self.ema or {})}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitResult:
  """What `fit` leaves in memory.

  Attributes:
    state: The state after the last step.
    variables: The variables to use: averages where there are any.
    reason: `"finished"`, `"early_stop"` or `"signal"`.
    signal: The number of the signal that ended the run, or None.
    best_step: The step of the best evaluation, or None.
    best_value: Its monitored value, or None.
    metrics: Values of the last evaluation; None for what is not finite.
  """

  state: TrainState
  variables: Any
  reason: str
  signal: int | None
  best_step: int | None
  best_value: float | None
  metrics: Mapping[str, float | None]


def trained(
  variables: Mapping[str, Any], fixed: Sequence[str] = ()
) -> dict[str, Any]:
  """What the optimizer trains, as it sees it; not `fixed` paths of `params`."""
  weights = {name: variables[name] for name in TRAINED if name in variables}
  if not fixed:
    return weights
  params = flatten_dict(weights["params"], sep="/")
  kept = dict(params)
  for path in fixed:
    below = [name for name in params if f"{name}/".startswith(f"{path}/")]
    if not below:
      raise TrainingError(
        f"cannot keep {path!r} fixed: the model has no params/{path}"
      )
    for name in below:
      kept.pop(name, None)
  return weights | {"params": unflatten_dict(kept, sep="/")}


def overlay(variables: Any, weights: Any) -> Any:
  """Variables with the arrays of `trained` in place of theirs."""
  if not isinstance(variables, Mapping):
    return weights
  return {
    name: overlay(value, weights[name]) if name in weights else value
    for name, value in variables.items()
  }


def averaged(variables: Mapping[str, Any]) -> dict[str, Any]:
  """The collections that a moving average covers."""
  return {name: x for name, x in variables.items() if name != "constants"}


def count(tree: Any) -> int:
  """How many numbers a tree of arrays holds."""
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


def reduce(values: Any, mask: Any) -> tuple[Any, Any]:
  """Sum and weight, over a mask, of `[B, ...]`, a `Mean` or one number."""
  num_kept = jnp.sum(mask).astype(jnp.float32)
  if hasattr(values, "weight"):
    return _sum(values.total, mask), _sum(values.weight, mask)
  if jnp.ndim(values) == 0:
    return jnp.asarray(values, jnp.float32) * num_kept, num_kept
  axes = tuple(range(1, jnp.ndim(values)))
  values = jnp.mean(jnp.asarray(values, jnp.float32), axis=axes)
  return jnp.sum(jnp.where(mask, values, 0)), num_kept


def _sum(values, mask):
  """Sum over the examples kept; others do not count, even if they hold NaN."""
  values = jnp.asarray(values, jnp.float32)
  mask = mask.reshape(mask.shape + (1,) * (values.ndim - 1))
  return jnp.sum(jnp.where(mask, values, 0))


@struct.dataclass
class Scalars:
  """Named float32 scalars in one array: the host fetches them at once."""

  values: Any
  names: tuple[str, ...] = struct.field(pytree_node=False)


def pack(scalars: Mapping[str, Any]) -> Scalars:
  """Puts named scalars into one array."""
  names = tuple(sorted(scalars))
  values = [jnp.asarray(scalars[name], jnp.float32) for name in names]
  return Scalars(values=jnp.stack(values), names=names)
