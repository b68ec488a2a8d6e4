"""The state of a run, one pytree."""

from typing import Any

from flax import struct


@struct.dataclass
class TrainState:
  """Everything that a step reads and writes."""

  step: Any
  params: Any
  opt_state: Any
  model_state: Any
