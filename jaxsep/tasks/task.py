"""The protocol between the training loop and what it trains."""

import zlib
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from flax import struct

from jaxsep.typing import Array, Float, Key

#: A batch: NumPy or JAX arrays by name, all with the same leading axis.
Batch = Mapping[str, Any]


@struct.dataclass
class Keys:
  """The random keys of a batch.

  Attributes:
    examples: One key per example, shape `[B]`. It depends on the root key and
      the example's global index alone.
    step_key: A key that differs at every step and microbatch.
  """

  examples: Any
  step_key: Any

  @classmethod
  def of(cls, root: Key, index: Any, *, step: Any, microbatch: Any = 0):
    """Makes the keys of a batch.

    `index` `[B]` holds the global indices of the examples, `step` and
    `microbatch` count from 0.
    """
    examples = jax.vmap(lambda i: jax.random.fold_in(root, i))(index)
    for number in (_STEPS, step, microbatch):
      root = jax.random.fold_in(root, number)
    return cls(examples=examples, step_key=root)

  @classmethod
  def evaluation(cls, index: Any):
    """The keys of evaluation examples, the same in every run.

    The root key cannot equal that of a training seed, whose first word is 0.
    """
    words: Any = np.array([0x6576616C, 0], np.uint32)
    root = jax.random.wrap_key_data(words, impl="threefry2x32")
    return cls.of(root, index, step=0)

  def step(self, name: str) -> Key:
    """The key of a named use, such as `"dropout"`, at this step."""
    return jax.random.fold_in(self.step_key, zlib.crc32(name.encode()))


# Folded in before the step: no example's key is a key of a step.
_STEPS = zlib.crc32(b"steps")


@struct.dataclass
class Mean:
  """A weighted mean, such as an error rate per word.

  Attributes:
    total: Weighted sum of each example, shape `[B]`.
    weight: Sum of the weights of each example, shape `[B]`.
  """

  total: Any
  weight: Any


@runtime_checkable
class Task(Protocol):
  """What the training loop asks of a task.

  `init`, `loss`, `evaluate` and `demo` are pure: they are traced and compiled.
  `variables` is always one tree of all collections, such as `{"params": ...,
  "batch_stats": ...}`. Optimised are `params` and `loss_params` (what only a
  loss learns, such as class weights; never exported). `constants`, such as
  the statistics of features, are neither trained nor averaged.

  A task may have more than the protocol asks for:

  * `demo(variables, batch, *, keys, frozen=None) -> {name: [T] or [S, T]}`:
    signals of the batch's first example, for TensorBoard.
  * `summarize(rows) -> {name: number}`: values that need the host, such as a
    word error rate. `rows` has one dict per real example, in the order of
    their `index`: the `index` and all that `evaluate` returned of it, as NumPy
    arrays, the same in every process. Any name can be monitored.
  * `per_example_loss = True`: the loss of an example depends on that example
    alone, so that a batch may be split into microbatches.
  * `save_options`: a dict of further arguments of `jaxsep.save`, such as
    `files` and `parts`, for the model folders of the run.

  Attributes:
    model: The Flax module that is exported.
    sample_rate_hz: Sample rate of its signals.
  """

  model: Any
  sample_rate_hz: int

  def init(self, key: Key, batch: Batch) -> Any:
    """Makes the variables, at least `{"params": ...}`.

    Of the batch only the shapes count.
    """
    ...

  def loss(
    self,
    variables: Any,
    batch: Batch,
    *,
    keys: Keys,
    step: Any,
    frozen: Any = None,
  ) -> tuple[Float[Array, "batch"], tuple[Any, Mapping[str, Any]]]:
    """What the optimizer minimises, per example.

    Args:
      variables: All collections.
      batch: Examples.
      keys: Random keys of the batch.
      step: Steps done so far, an int32 number.
      frozen: The tree that `fit` was given: variables of teachers, recognisers
        or speaker encoders, which no step changes.

    Returns:
      `(values [B], (changed, scalars))`: the collections that changed, such
      as `{"batch_stats": ...}`, and further values to log, as `evaluate`
      returns them.
    """
    ...

  def evaluate(
    self, variables: Any, batch: Batch, *, keys: Keys, frozen: Any = None
  ) -> Mapping[str, Any]:
    """Scores every example.

    The variables are averaged if the run keeps averages; the keys are the same
    at every evaluation.

    Returns:
      Values by name: `[B]`, `[B, ...]` or `Mean`. Floats are averaged over
      their trailing axes, then over the examples. Integers are for
      `summarize` only; so are arrays of rank 2 or more if the task has a
      `summarize`.
    """
    ...

  def describe(self) -> Mapping[str, Any]:
    """Everything that fixes the meaning of the parameters, as JSON values.

    Its entry "task" names the task in model folders. A run is only continued
    by a task with the same description.
    """
    ...
