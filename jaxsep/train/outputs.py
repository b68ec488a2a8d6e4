"""What process 0 writes of a run: checkpoints, logs, model folders, a trace.

Every process calls every method at the same point; what fails in process 0
ends all of them.
"""

from collections.abc import Mapping
from typing import Any

import jax
from etils import epath

from jaxsep import model_io
from jaxsep.tasks import Task
from jaxsep.train import workdir as workdir_lib
from jaxsep.train.checkpoint import Checkpoints
from jaxsep.train.config import TrainConfig
from jaxsep.train.errors import TrainingError
from jaxsep.train.mesh import by_first
from jaxsep.train.pace import say
from jaxsep.train.writer import Writer


class Outputs:
  """The workdir of a run."""

  def __init__(self, task: Task, config: TrainConfig, folder: epath.Path):
    self.folder = folder
    self._task, self._config = task, config
    self._profiling = False
    # Of process 0 only.
    self._checkpoints: Any = None
    self._writer: Any = None

  @by_first
  def newest(self) -> Any:
    """The newest good checkpoint; see `Checkpoints.newest`."""
    if not (self.folder / "config.json").exists():
      return None
    self._open_checkpoints()
    return self._checkpoints.newest()

  @by_first
  def open(self, step: int, evaluated: bool, described: Any) -> None:
    """Opens all files at a step; from here on the folder is this run's."""
    self._writer = Writer(
      self.folder,
      start_step=step,
      evaluated=evaluated,
      tensorboard=self._config.tensorboard,
      wandb_project=self._config.wandb_project,
      run_config=described,
    )
    workdir_lib.write_config(self.folder, described)
    if self._checkpoints is None:
      self._open_checkpoints()

  @by_first
  def scalars(self, step: int, split: str, values: Mapping[str, Any]) -> None:
    """Writes scalars; a log that takes no more of them ends the run."""
    try:
      self._writer.scalars(step, split, values)
    except OSError as error:
      raise TrainingError(
        f"stopped at step {step}: cannot write {self._writer.path} "
        f"({error.strerror or error}); the last checkpoint {self._kept()}"
      ) from error

  @by_first
  def signals(self, step: int, signals: Mapping[str, Any]) -> None:
    """Writes sounds and pictures."""
    rate = self._task.sample_rate_hz
    self._writer.signals(step, signals, sample_rate_hz=rate)

  @by_first
  def save(self, step: int, state: Any, monitor: Any) -> None:
    """Starts to write a checkpoint, and uploads the logs."""
    self._checkpoints.best = monitor.best_step
    self._checkpoints.save(step, state, beside=vars(monitor))
    self._writer.upload()

  @by_first
  def wait(self) -> None:
    """Returns when no checkpoint is being written any more."""
    self._checkpoints.wait()

  @by_first
  def refuse(self, reason: str, advice: str) -> None:
    """Ends the run with a line that says what is kept of it."""
    raise TrainingError(
      f"{reason}; the last good checkpoint {self._kept()}. {advice}"
    )

  @by_first
  def export(
    self, name: str, variables: Any, metadata: Mapping[str, Any]
  ) -> None:
    """Writes a model folder."""
    try:
      model_io.save(
        self.folder / name,
        self._task.model,
        jax.device_get(variables),
        sample_rate_hz=self._task.sample_rate_hz,
        task=self._task.describe()["task"],
        metadata=metadata,
        overwrite=True,
        **getattr(self._task, "save_options", {}),
      )
    except (OSError, ValueError) as error:
      raise TrainingError(
        f"cannot write the model folder {self.folder / name} ({error}); the "
        "checkpoints are intact"
      ) from error

  def profile(self, step: int, state: Any) -> None:
    """Starts or ends the trace of the steps to profile."""
    start = self._config.profile_step
    if start is None or jax.process_index():
      return
    if self._profiling and step >= start + 3:
      jax.block_until_ready(state)
      self._end_profile()
      say(f"wrote a trace of 3 steps to {self.folder / 'profile'}")
    elif step == start:
      self._profiling = True
      jax.profiler.start_trace(self._writer.path.parent / "profile")

  def close(self) -> None:
    """Ends what is under way, keeping what is complete."""
    self._end_profile()
    for part in (self._checkpoints, self._writer):
      if part is not None:
        part.close()

  def _open_checkpoints(self):
    keep = self._config.keep_checkpoints
    folder = self.folder / "checkpoints"
    self._checkpoints = Checkpoints(folder, keep=keep, say=say)

  def _kept(self):
    self._checkpoints.wait()
    steps = self._checkpoints.steps
    return f"of step {steps[-1]} is kept" if steps else "was not written yet"

  def _end_profile(self):
    if self._profiling:
      self._profiling = False
      jax.profiler.stop_trace()
