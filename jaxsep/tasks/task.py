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
    """Makes the parameters.

    Args:
      key: Key of the draws.
      batch: A batch of the shapes to come.

    Returns:
      `(params, model_state)`.
    """
    ...

  def loss(
    self, params: Any, model_state: Any, batch: Batch, *, key: Key
  ) -> tuple[Float[Array, "batch"], tuple[Any, Mapping[str, Array]]]:
    """What the optimizer makes smaller; not reduced.

    Args:
      params: Parameters of the model.
      model_state: What else the model keeps.
      batch: Examples.
      key: Root key of the run.

    Returns:
      `(loss [B], (model_state, {name: [B]}))`.
    """
    ...

  def evaluate(
    self, params: Any, model_state: Any, batch: Batch, *, key: Key
  ) -> Mapping[str, Array]:
    """Scores every example.

    Args:
      params: Parameters of the model.
      model_state: What else the model keeps.
      batch: Examples.
      key: Root key of the run.

    Returns:
      `{name: [B]}`, with the entry `"loss"` among them.
    """
    ...

  def demo(
    self, params: Any, model_state: Any, batch: Batch, *, key: Key
  ) -> Mapping[str, Array]:
    """Signals to hear and see of the batch's first example.

    Args:
      params: Parameters of the model.
      model_state: What else the model keeps.
      batch: Examples.
      key: Root key of the run.

    Returns:
      Signals by name. The names `"mixture"` `[T]`, `"estimate"` and
      `"reference"` `[S, T]` are conventional; any name may come with either
      shape.
    """
    ...

  def describe(self) -> Mapping[str, Any]:
    """Everything that fixes the meaning of the parameters, as JSON values.

    A run is only continued by a task with the same description.
    """
    ...

  def num_seconds(self, batch: Batch) -> float:
    """Seconds of audio in a batch, from its shapes.

    Args:
      batch: Examples.

    Returns:
      Seconds of all examples together.
    """
    ...

  def save(
    self, folder: Any, params: Any, model_state: Any, *, metadata: Any = None
  ) -> None:
    """Writes the model folder that `jaxsep.load` reads.

    Args:
      folder: Where to.
      params: Parameters of the model.
      model_state: What else the model keeps.
      metadata: Anything that JSON can hold.
    """
    ...
