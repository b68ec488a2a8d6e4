"""Separation of a mixture into its sources."""

from collections.abc import Callable
from typing import Any

from jaxsep.tasks.task import Batch
from jaxsep.typing import Key


class SeparationTask:
  """Trains a model `[B, T] -> [B, S, T]` on mixtures under permutations."""

  def __init__(
    self,
    model: Any,
    *,
    sample_rate_hz: int,
    simulate: Callable | None = None,
    loss: Callable | None = None,
  ):
    self.model = model
    self.sample_rate_hz = sample_rate_hz

  def init(self, key: Key, batch: Batch):
    """Makes `(params, model_state)`."""
    raise NotImplementedError

  def loss(self, params: Any, model_state: Any, batch: Batch, *, key: Key):
    """Loss of each example."""
    raise NotImplementedError

  def evaluate(self, params: Any, model_state: Any, batch: Batch, *, key: Key):
    """Metrics of each example."""
    raise NotImplementedError

  def demo(self, params: Any, model_state: Any, batch: Batch, *, key: Key):
    """Signals of the first example."""
    raise NotImplementedError
