"""One start of a run: what happens when."""

import collections
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxsep.train import mesh as mesh_lib
from jaxsep.train import workdir as workdir_lib
from jaxsep.train.checkpoint import Checkpoints
from jaxsep.train.errors import TrainingError
from jaxsep.train.evaluation import Evaluator
from jaxsep.train.monitor import Monitor
from jaxsep.train.pace import Pace
from jaxsep.train.state import TrainState
from jaxsep.train.step import make_init, make_train_step
from jaxsep.train.writer import Writer, say


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitResult:
  """What `fit` leaves in memory.

  Attributes:
    state: The state after the last step.
    params: The parameters to use: the moving average when there is one.
    reason: `"finished"`, `"early_stop"` or `"signal"`.
    signal: The number of the signal that ended the run, or None.
    best_step: The step of the best evaluation, or None.
    best_value: Its monitored value, or None.
    metrics: Means of the last evaluation; None for what is not finite.
  """

  state: TrainState
  params: Any
  reason: str
  signal: int | None
  best_step: int | None
  best_value: float | None
  metrics: Mapping[str, float | None]


class Run:
  """One start of a run."""

  def __init__(self, task, config, mesh, folder, stopper):
    self.task = task
    self.config = config
    self.mesh = mesh
    self.folder = folder
    self.stopper = stopper
    self.first = jax.process_index() == 0
    self.monitor = Monitor()
    self.writer = Writer(folder, active=False)
    self.checkpoints = Checkpoints(
      folder / "checkpoints", keep=config.keep_checkpoints, say=self.say
    )
    self.evaluator = Evaluator(task, mesh=mesh)
    self.pending = collections.deque()
    self.saved_step = None
    self.first_skipped = None
    self.stop = False
    self.pace: Any = None
    self.batches: Any = None

  def run(self, make_train_batches, make_eval_batches):
    """From the first or the newest checkpoint to the end."""
    config, monitor = self.config, self.monitor
    self.make_eval_batches = make_eval_batches
    batches = self.start(make_train_batches)
    step = int(self.state.step)
    self.pace = Pace(
      start_step=step,
      num_steps=config.num_steps,
      show=config.progress,
      active=self.first,
    )
    train_step = make_train_step(self.task, config, self.mesh)
    reason = self.after(step) if step else None
    while reason is None and step < config.num_steps:
      batch = next(batches, None)
      if batch is None:
        raise TrainingError(f"the training batches ran out at step {step}")
      self.state, scalars = train_step(self.state, batch)
      step += 1
      scalars.values.copy_to_host_async()
      self.pending.append((step, scalars))
      # The step before has had its time; this one runs on meanwhile.
      self.settle(leave=1)
      reason = self.after(step)
    # The checkpoint first: who sent a signal may not wait for long.
    self.checkpoints.wait()
    self.export("last", step)
    return FitResult(
      state=self.state,
      params=self.state.eval_params,
      reason=reason or "finished",
      signal=self.stopper.signal if reason == "signal" else None,
      best_step=monitor.best_step,
      best_value=monitor.best_value,
      metrics=monitor.metrics,
    )

  def start(self, make_train_batches):
    """Sets the first state; returns the batches from there on."""
    newest = self.checkpoints.newest() if self.first else None
    start = mesh_lib.agree(-1 if newest is None else newest)
    batches = self.batches = iter(make_train_batches(max(start, 0)))
    batch = next(batches, None)
    if batch is None:
      raise TrainingError("there are no training batches")
    self.seconds_per_step = self.task.num_seconds(batch) * jax.process_count()
    shapes = {
      name: jax.ShapeDtypeStruct(np.shape(value), np.asarray(value).dtype)
      for name, value in batch.items()
    }
    init = make_init(self.task, self.config, self.mesh)
    like = init.shapes(shapes)
    self.check_space(like)
    if start < 0:
      self.state = init(shapes)
    else:
      sharding = mesh_lib.replicated(self.mesh)
      like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        like,
      )
      self.state, beside = self.checkpoints.restore(start, like)
      self.monitor.__dict__.update(beside)
      self.saved_step = start
      self.say(f"going on from the checkpoint of step {start}")
    self.writer = Writer(
      self.folder,
      start_step=max(start, 0),
      evaluated=self.monitor.evaluated_step == start,
      tensorboard=self.config.tensorboard,
      active=self.first,
    )
    return mesh_lib.ahead(self.sharded(batch, batches))

  def sharded(self, batch, batches):
    """Batches as global arrays, with word of a signal among processes."""
    while batch is not None:
      if jax.process_count() > 1:
        size = mesh_lib.batch_size(batch)
        stop = np.full(size, self.stopper.signal is not None, np.float32)
        batch = {**batch, "stop": stop}
      yield mesh_lib.shard_batch(batch, self.mesh)
      batch = next(batches, None)

  def settle(self, *, leave):
    """Takes in the values of all but the latest steps."""
    while len(self.pending) > leave:
      step, scalars = self.pending.popleft()
      values = np.asarray(scalars.values).tolist()
      row = dict(zip(scalars.names, values, strict=True))
      self.pace.step()
      self.monitor.period.append(row)
      self.stop |= bool(row.pop("stop", 0))
      if not row["is_finite"]:
        self.skipped(step, row)
      else:
        self.first_skipped = None

  def skipped(self, step, row):
    """Says that an update was skipped; raises if too many were."""
    if self.first_skipped is None:
      self.first_skipped = step
    in_row = int(row["skipped_in_row"])
    what = f"loss {row['loss']:g}, gradient norm {row['grad_norm']:g}"
    self.say(
      f"step {step}: {what}; update skipped ({in_row} in a row, "
      f"{int(row['skipped'])} in all)"
    )
    self.write(
      step,
      "skipped",
      {name: row[name] for name in ("loss", "grad_norm", "skipped_in_row")},
    )
    if in_row >= self.config.max_skipped_in_row:
      raise TrainingError(
        f"stopped at step {step}: the loss or a gradient was not finite "
        f"{in_row} times in a row, since step {step - in_row + 1}; the last "
        f"good checkpoint {self.kept()}. Lower the learning rate or look at "
        f"the data"
      )

  def kept(self):
    """What became of the last checkpoint, to end a sentence about it."""
    self.checkpoints.wait()
    steps = self.checkpoints.steps
    return f"of step {steps[-1]} is kept" if steps else "was not written yet"

  def write(self, step, split, values):
    """Writes scalars; a log that takes no more of them ends the run."""
    try:
      self.writer.scalars(step, split, values)
    except OSError as error:
      raise TrainingError(
        f"stopped at step {step}: cannot write {self.writer.path} "
        f"({error.strerror or error}); the last checkpoint {self.kept()}"
      ) from error

  def after(self, step):
    """Does what is due after a step; returns why to stop, or None."""
    config, monitor = self.config, self.monitor
    last = step >= config.num_steps
    stop = self.stop if jax.process_count() > 1 else self.stopper.signal
    if stop or last or step % config.log_every == 0:
      self.settle(leave=0)
    if self.saved_step != step and (last or step % config.log_every == 0):
      self.log(step)
    improved = False
    due = last or (config.eval_every and step % config.eval_every == 0)
    if due and not stop and monitor.evaluated_step != step:
      improved = self.evaluate(step)
      if monitor.evaluated_step == step:
        self.saved_step = None
      stop = stop or (jax.process_count() == 1 and self.stopper.signal)
    if (
      stop or last or improved or step % config.checkpoint_every == 0
    ) and self.saved_step != step:
      self.save(step)
    if stop:
      self.say(f"stopped by a signal after step {step}; checkpoint written")
      return "signal"
    if monitor.is_over(config):
      if self.saved_step != step:
        self.save(step)
      self.say(
        f"stopped after step {step}: {monitor.num_worse} evaluations without "
        f"an improvement since step {monitor.best_step}"
      )
      return "early_stop"
    return None

  def log(self, step):
    """Writes the means since the last line of the log."""
    values = self.monitor.period_means()
    if values:
      values |= self.pace.speeds(seconds_per_step=self.seconds_per_step)
      self.write(step, "train", values)
      self.pace.report(step, values)

  def evaluate(self, step):
    """Evaluates; takes what follows from it; returns if it is the best."""
    if self.make_eval_batches is None:
      return False
    self.settle(leave=0)
    with self.pace.pause():
      state, config = self.state, self.config
      params = state.eval_params
      alone = jax.process_count() == 1
      means = self.evaluator.means(
        params,
        state.model_state,
        self.make_eval_batches(),
        interrupted=lambda: alone and self.stopper.signal is not None,
      )
      if means is None:
        return False
      improved = self.monitor.update(step, means, config)
      if self.monitor.take_plateau(config):
        self.lower_rate(step)
      self.write(step, "eval", means)
      shown = ", ".join(f"{k} {v:.3f}" for k, v in sorted(means.items()))
      self.say(f"step {step} evaluation: {shown}{' (best)' * improved}")
      self.demo(step)
      if improved:
        self.export("best", step)
    return improved

  def demo(self, step):
    """Writes sounds and pictures when they are due."""
    config = self.config
    every = config.demo_every * max(config.eval_every, 1)
    if not (config.tensorboard and every):
      return
    first = step == config.eval_every
    if first or step % every == 0 or step == config.num_steps:
      signals = self.evaluator.demo(
        self.state.eval_params, self.state.model_state
      )
      self.writer.signals(
        step, signals, sample_rate_hz=self.task.sample_rate_hz
      )

  def lower_rate(self, step):
    """Multiplies the learning rate by the plateau's factor."""
    optimizer = self.config.optimizer
    floor = optimizer.plateau_min_learning_rate / optimizer.learning_rate
    before = float(self.state.lr_scale)
    scale = max(before * optimizer.plateau_factor, min(floor, before))
    self.state = self.state.replace(
      lr_scale=mesh_lib.replicate(np.float32(scale), self.mesh)
    )
    self.say(
      f"step {step}: no improvement in {optimizer.plateau_patience} "
      f"evaluations, learning rate down to "
      f"{scale * optimizer.learning_rate:.3g}"
    )

  def save(self, step):
    """Starts to write a checkpoint."""
    self.settle(leave=0)
    with self.pace.pause():
      best = self.monitor.best_step
      self.checkpoints.save(
        step,
        self.state,
        beside=self.monitor.as_json(),
        protect=() if best is None else (best,),
      )
    self.saved_step = step

  def export(self, name, step):
    """Writes a model folder."""
    if not self.first:
      return
    evaluated = self.monitor.evaluated_step == step
    metrics = dict(self.monitor.metrics) if evaluated else {}
    metadata = {"step": step, "metrics": metrics}
    try:
      with workdir_lib.replaced_folder(self.folder / name) as folder:
        self.task.save(
          folder,
          jax.device_get(self.state.eval_params),
          jax.device_get(self.state.model_state),
          metadata=metadata,
        )
    except (OSError, ValueError) as error:
      raise TrainingError(
        f"cannot write the model folder {self.folder / name} "
        f"({error}); the earlier one and the checkpoints are intact"
      ) from error

  def check_space(self, like):
    """Raises before the first step if the disk will not do."""
    if self.first:
      size = sum(
        math.prod(leaf.shape) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(like)
      )
      # Those kept, the best, the one being written, the model folders, logs.
      num = self.config.keep_checkpoints + 3 - len(self.checkpoints.steps)
      workdir_lib.check_space(
        self.folder, num_bytes=max(num, 2) * size + 20_000_000
      )

  def say(self, line):
    """Prints a line, in one process."""
    if self.first:
      say(line)

  def close(self):
    """Ends what is under way, keeping what is complete."""
    self.checkpoints.close()
    if self.pace is not None:
      self.pace.close()
    self.writer.close()
    if hasattr(self.batches, "close"):
      self.batches.close()
