"""What goes into the compiled step, and what comes out of it."""

import collections
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from jaxsep.tasks import Batch
from jaxsep.train import mesh as mesh_lib
from jaxsep.train.config import TrainConfig
from jaxsep.train.errors import TrainingError
from jaxsep.train.monitor import Monitor
from jaxsep.train.outputs import Outputs
from jaxsep.train.pace import Pace, say

# What has happened in a process, by urgency.
_NOTHING, _SIGNAL, _FAILURE = range(3)


class Feed:
  """The training batches; `first` is the first one, as it was read.

  A signal or a failure to read in one process reaches all processes with the
  next batch, as `stop`. After a failure the batch before is repeated, and the
  run ends before the result is used.
  """

  def __init__(self, batches: Iterator[Batch], step: int):
    self._batches, self._step = iter(batches), step
    self._failure: Exception | None = None
    self.first = mesh_lib.together(self._read)

  def sharded(self, mesh: Any, signals: Sequence[int]) -> Iterator[Any]:
    """The batches as global arrays, without end, each drawn one ahead."""
    batch, ahead = self.first, None
    while True:
      stop = _SIGNAL if signals else _NOTHING
      if self._failure is not None:
        stop = _FAILURE
      stops = np.full(mesh_lib.batch_size(batch), stop, np.float32)
      item = mesh_lib.shard_batch({**batch, "stop": stops}, mesh)
      if ahead is not None:
        yield ahead
      ahead = item
      if self._failure is None:
        try:
          batch = self._read()
        except Exception as error:  # whatever a corpus comes up with
          self._failure = error

  def check(self) -> None:
    """Raises what kept a batch from being read."""
    if self._failure is not None:
      raise self._failure

  def close(self) -> None:
    """Ends the reading."""
    if hasattr(self._batches, "close"):
      self._batches.close()

  def _read(self):
    batch = next(self._batches, None)
    if batch is None:
      raise TrainingError(f"the training batches ran out at step {self._step}")
    self._step += 1
    return batch


class Steps:
  """The scalars of the steps, on their way from the devices to the log.

  `stop` says whether a signal came to any process.
  """

  def __init__(
    self,
    config: TrainConfig,
    *,
    step: int,
    outputs: Outputs,
    monitor: Monitor,
    feed: Feed,
  ):
    self._config, self._outputs = config, outputs
    self._monitor, self._feed = monitor, feed
    self._batch_size = mesh_lib.batch_size(feed.first) * jax.process_count()
    self._pending: collections.deque[Any] = collections.deque()
    self.stop = False
    self.pace = Pace(
      start_step=step, num_steps=config.num_steps, show=config.progress
    )

  def add(self, step: int, scalars: Any) -> None:
    """Reads the scalars of the step before, while this step runs."""
    scalars.values.copy_to_host_async()
    self._pending.append((step, scalars))
    self.settle(leave=1)

  def settle(self, *, leave: int = 0) -> None:
    """Reads the scalars of all but the `leave` latest steps."""
    while len(self._pending) > leave:
      step, scalars = self._pending.popleft()
      values = np.asarray(scalars.values).tolist()
      row = dict(zip(scalars.names, values, strict=True))
      stop = row.pop("stop")
      if stop >= _FAILURE:
        mesh_lib.together(self._feed.check)
      self.stop |= stop >= _SIGNAL
      self.pace.step()
      self._monitor.period.append(row)
      if not row["is_finite"]:
        self._skipped(step, row)

  def log(self, step: int) -> None:
    """Writes the means since the last line of the log."""
    values = self._monitor.period_means()
    if values:
      values = self.pace.report(step, values, batch_size=self._batch_size)
      self._outputs.scalars(step, "train", values)

  def _skipped(self, step, row):
    """Says that an update was skipped; raises if too many were."""
    in_row = int(row["skipped_in_row"])
    say(
      f"step {step}: loss {row['loss']:g}, gradient norm "
      f"{row['grad_norm']:g}; update skipped ({in_row} in a row, "
      f"{int(row['skipped'])} in all)"
    )
    names = ("loss", "grad_norm", "skipped_in_row")
    self._outputs.scalars(step, "skipped", {name: row[name] for name in names})
    if in_row >= self._config.max_skipped_in_row:
      self._outputs.refuse(
        f"stopped at step {step}: the loss or a gradient was not finite "
        f"{in_row} times in a row, since step {step - in_row + 1}",
        "Lower the learning rate or look at the data",
      )
