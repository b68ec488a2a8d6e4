"""The state of a run, one pytree."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import struct


@struct.dataclass
class TrainState:
  """Everything that a training step reads and writes.

  Random keys are not part of it: they are folded from the seed and the index
  of an example. The position in the data is `step` alone.

  Attributes:
    step: Steps done, skipped updates included; int32.
    params: Parameters of the model.
    opt_state: State of the optimizer.
    model_state: Variables that the model updates by itself.
    ema_params: Moving average of the parameters, or None.
    lr_scale: What plateaus have made of the learning rate; float32.
    skipped: Updates skipped so far; int32.
    skipped_in_row: Updates skipped since the last good one; int32.
  """

  step: Any
  params: Any
  opt_state: Any
  model_state: Any
  ema_params: Any
  lr_scale: Any
  skipped: Any
  skipped_in_row: Any

  @property
  def eval_params(self) -> Any:
    """The parameters to use: the moving average when there is one."""
    return self.params if self.ema_params is None else self.ema_params


@struct.dataclass
class Scalars:
  """Named scalars in one array, so that the host fetches them at once.

  Attributes:
    values: One float32 value each, shape `[len(names)]`.
    names: Their names.
  """

  values: Any
  names: tuple[str, ...] = struct.field(pytree_node=False)


def pack(scalars: Mapping[str, Any]) -> Scalars:
  """Puts named scalars into one array."""
  names = tuple(sorted(scalars))
  values = [jnp.asarray(scalars[name], jnp.float32) for name in names]
  return Scalars(values=jnp.stack(values), names=names)
