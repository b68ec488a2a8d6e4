"""The one training loop."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax

from jaxsep.tasks import Batch, Task
from jaxsep.train import mesh as mesh_lib
from jaxsep.train import workdir as workdir_lib
from jaxsep.train.config import TrainConfig, check_config, resolved
from jaxsep.train.errors import TrainingError
from jaxsep.train.evaluation import check_monitor
from jaxsep.train.run import FitResult, Run
from jaxsep.train.stopping import Stopper


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

  Called again with the same arguments after whatever ended it, it goes on from
  the newest complete checkpoint and ends where an unbroken run would, bit for
  bit on a CPU. SIGTERM and SIGINT make it write a checkpoint and `last/`, and
  return.

  The workdir holds `config.json`, `log.jsonl`, `tensorboard/`, `checkpoints/`
  and the model folders `best/` and `last/`, which `jaxsep.load` reads.

  Args:
    task: What to train.
    workdir: Folder of the run: new, empty, or left by an earlier start.
    config: Options of the loop.
    make_train_batches: From the first step to run to an endless iterator of
      batches; the batch of a step must depend on the step alone.
    make_eval_batches: To the evaluation set, the same one at every call; None
      evaluates nothing.
    run_config: Anything else that fixes the run, as JSON values, kept next to
      the checkpoints and compared when the run goes on.
    may_change: Dotted keys of `run_config` that may differ then.
    mesh: Devices with the axis "data"; None takes all there are.

  Returns:
    A `FitResult`.

  Raises:
    ValueError: If an option is out of range or a batch does not fit.
    TrainingError: If the run cannot start or go on; one line says why.
  """
  check_config(config)
  mesh = mesh_lib.make_mesh() if mesh is None else mesh
  if make_eval_batches is not None:
    # Before the workdir remembers the name.
    check_monitor(task, make_eval_batches(), config.monitor)
  described = {
    "train": dataclasses.asdict(resolved(config)),
    "task": dict(task.describe()),
    "run": dict(run_config or {}),
  }
  changeable = (
    *workdir_lib.MAY_CHANGE,
    *(f"run.{key}" for key in may_change),
  )
  with (
    _opened(workdir, described, changeable) as folder,
    Stopper() as stopper,
  ):
    run = Run(task, config, mesh, folder, stopper)
    try:
      return run.run(make_train_batches, make_eval_batches)
    finally:
      run.close()


@contextlib.contextmanager
def _opened(workdir, described, may_change):
  """Opens the workdir in the first process; the others learn if it worked."""
  if jax.process_index():
    if not mesh_lib.agree(0):
      raise TrainingError("process 0 could not open the workdir")
    yield pathlib.Path(workdir).absolute()
    return
  with contextlib.ExitStack() as stack:
    try:
      folder = stack.enter_context(
        workdir_lib.open_workdir(workdir, described, may_change=may_change)
      )
    except TrainingError:
      mesh_lib.agree(0)
      raise
    mesh_lib.agree(1)
    yield folder
