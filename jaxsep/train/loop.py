"""The one training loop."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from jaxsep.tasks import Batch, Task
from jaxsep.train.config import TrainConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitResult:
  """What `fit` leaves in memory.

  Attributes:
    state: The state after the last step.
    params: The parameters to use: the moving average when there is one.
    reason: `"finished"`, `"early_stop"` or `"signal"`.
    signal: The number of the signal that ended the run, or None.
    best_step: The step of the best evaluation, or None.
    metrics: Means of the last evaluation.
  """

  state: Any
  params: Any
  reason: str
  signal: int | None = None
  best_step: int | None = None
  metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)


def fit(
  task: Task,
  *,
  workdir: Any,
  config: TrainConfig,
  make_train_batches: Callable[[int], Iterator[Batch]],
  make_eval_batches: Callable[[], Iterable[Batch]] | None = None,
  run_config: Mapping[str, Any] | None = None,
  may_change: Sequence[str] = (),
  mesh: Any = None,
) -> FitResult:
  """Trains a task, or goes on with the run that `workdir` holds.

  Args:
    task: What to train.
    workdir: Folder of the run: new, empty, or left by an earlier start.
    config: Options of the loop.
    make_train_batches: From the first step to run to an iterator of batches.
    make_eval_batches: To the evaluation set; None evaluates nothing.
    run_config: Anything else that fixes the run, as JSON values, kept next to
      the checkpoints and compared when the run goes on.
    may_change: Dotted keys of `run_config` that may differ then.
    mesh: Devices with the axis "data"; None takes all there are.

  Returns:
    A `FitResult`.
  """
  raise NotImplementedError
