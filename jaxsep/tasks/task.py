"""The protocol between the training loop and what it trains."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from jaxsep.typing import Array, Float, Key

#: A batch: NumPy or JAX arrays by name, all with the same leading axis.
Batch = Mapping[str, Any]


@runtime_checkable
class Task(Protocol):
  """What the training loop asks of a task.

  `init`, `loss`, `evaluate` and `demo` are pure: they are traced and compiled.
  Every random draw comes from `key`, the root key of the run, folded with the
  global `index` of an example, so an example's draws do not depend on the
  batch it arrives in, nor on the number of devices.
  """

  @property
  def sample_rate_hz(self) -> int:
    """Sample rate of everything."""
    ...

  def init(self, key: Key, batch: Batch) -> tuple[Any, Any]:
    """Makes `(params, model_state)` for batches shaped like `batch`."""
    ...

  def loss(
    self, params: Any, model_state: Any, batch: Batch, *, key: Key
  ) -> tuple[Float[Array, "batch"], tuple[Any, Mapping[str, Array]]]:
    """Returns `(loss [B], (model_state, {name: [B]}))`; not reduced."""
    ...

  def evaluate(
    self, params: Any, model_state: Any, batch: Batch, *, key: Key
  ) -> Mapping[str, Array]:
    """Returns `{name: [B]}`, with the entry `"loss"` among them."""
    ...

  def demo(
    self, params: Any, model_state: Any, batch: Batch, *, key: Key
  ) -> Mapping[str, Array]:
    """Returns signals to hear and see of the batch's first example.

    The names `"mixture"` `[T]`, `"estimate"` and `"reference"` `[S, T]` are
    conventional; any name may come with either shape.
    """
    ...

  def describe(self) -> Mapping[str, Any]:
    """Everything that fixes the meaning of the parameters, as JSON values.

    A run is only continued by a task with the same description.
    """
    ...

  def num_seconds(self, batch: Batch) -> float:
    """Seconds of audio in a batch, from its shapes."""
    ...

  def save(
    self, folder: Any, params: Any, model_state: Any, *, metadata: Any = None
  ) -> None:
    """Writes the model folder that `jaxsep.load` reads."""
    ...
