"""The one training loop.

Before the first step, in this order, each of them once:

1. The options and the monitored name are checked; the workdir is opened.
2. The newest good checkpoint is read, if there is one.
3. The first batch is drawn; it gives the shapes of the state. That the model
   can be saved, that `init_from` fits and that the disk has room is checked.
4. `config.json` is written, then the state made or restored.

After every step, in this order, each of them when it is due:

1. The log gets the means since its last line.
2. An evaluation; the plateau; sounds and pictures; `best/` if it is better.
3. A checkpoint, in the background, and the logs to a bucket.
4. The end: after a signal, the last step, or too long without improvement.

At the end the checkpoint is waited for, then `last/` is written.

Files are read and written by process 0 alone, see `outputs`: what fails there
ends all processes.
"""

import collections
import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax

from jaxsep.tasks import Batch, Task
from jaxsep.train import mesh as mesh_lib
from jaxsep.train import workdir as workdir_lib
from jaxsep.train.config import Plateau, TrainConfig
from jaxsep.train.errors import TrainingError
from jaxsep.train.evaluation import Evaluator, check_monitor
from jaxsep.train.monitor import Monitor
from jaxsep.train.outputs import Outputs
from jaxsep.train.pace import Pace
from jaxsep.train.start import Start, describe_run
from jaxsep.train.state import TrainState
from jaxsep.train.step import make_train_step
from jaxsep.train.stopping import Stopper
from jaxsep.train.writer import say


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitResult:
  """What `fit` leaves in memory.

  Attributes:
    state: The state after the last step.
    variables: The variables to use: averages where there are any.
    reason: `"finished"`, `"early_stop"` or `"signal"`.
    signal: The number of the signal that ended the run, or None.
    best_step: The step of the best evaluation, or None.
    best_value: Its monitored value, or None.
    metrics: Values of the last evaluation; None for what is not finite.
  """

  state: TrainState
  variables: Any
  reason: str
  signal: int | None
  best_step: int | None
  best_value: float | None
  metrics: Mapping[str, float | None]


def fit(
  task: Task,
  *,
  workdir: Any,
  config: TrainConfig,
  optimizer: optax.GradientTransformation,
  make_train_batches: Callable[[int], Iterator[Batch]],
  make_eval_batches: Callable[[], Iterable[Batch]] | None = None,
  schedule: Callable[[Any], Any] | None = None,
  plateau: Plateau | None = None,
  init_from: Any = None,
  frozen: Any = None,
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
    workdir: Folder of the run: new, empty, or left by an earlier start. A path
      on this machine, or in a bucket such as `gs://bucket/run`.
    config: Options of the loop.
    optimizer: Makes updates of gradients, learning rate included. It sees the
      tree `{"params": ...}`, with `loss_params` if the task has them. What
      made it belongs into `run_config`: nothing else describes it.
    make_train_batches: From the first step to run to an endless iterator of
      batches; the batch of a step must depend on the step alone.
    make_eval_batches: To the evaluation set, the same one at every call; None
      evaluates nothing.
    schedule: The learning rate of each update, only to be logged.
    plateau: When and how the updates get smaller; None never scales them.
    init_from: Variables, all or whole parts of them, to start from. They are
      merged into the first state; a run that goes on does not look at them.
    frozen: Variables that the task's `loss` and `evaluate` are given and that
      no step changes, by name. They are in no checkpoint; their hashes are
      part of what describes the run.
    run_config: Anything else that fixes the run, as JSON values, kept next to
      the checkpoints and compared when the run goes on.
    may_change: Dotted keys of `run_config` that may differ then.
    mesh: Devices with the axis "data"; None takes all there are.

  Returns:
    A `FitResult`.

  Raises:
    ValueError: If an option is out of range, a batch does not fit, or the
      model could not be saved.
    TrainingError: If the run cannot start or go on; one line says why.

  Example:
    >>> import tempfile
    >>> from jaxsep import models, tasks
    >>> masker = models.TemporalConvNet(num_blocks=1, num_repeats=1)
    >>> model = models.ConvTasNet(num_filters=8, masker=masker)
    >>> task = tasks.SeparationTask(model=model, sample_rate_hz=8000)
    >>> def batches(start_step):
    ...   for step in range(start_step, 2):
    ...     rng = np.random.default_rng(step)
    ...     sources = rng.normal(size=(2, 2, 800)).astype(np.float32)
    ...     yield {"index": np.arange(2) + 2 * step, "sources": sources}
    >>> result = fit(
    ...   task,
    ...   workdir=tempfile.mkdtemp(),
    ...   config=TrainConfig(num_steps=2, tensorboard=False, progress=False),
    ...   optimizer=optax.adam(1e-3),
    ...   make_train_batches=batches,
    ...   mesh=mesh_lib.make_mesh(jax.devices()[:1]),
    ... )
    >>> result.reason
    'finished'
  """
  if getattr(task, "whole_batch_loss", False) and config.num_microbatches > 1:
    raise ValueError(
      f"num_microbatches is {config.num_microbatches}, but the loss of "
      f"{type(task).__name__} compares the examples of a whole batch; set it "
      "to 1"
    )
  mesh = mesh_lib.make_mesh() if mesh is None else mesh
  if make_eval_batches is not None:
    check_monitor(task, make_eval_batches(), config.monitor, frozen=frozen)
  described = describe_run(task, config, plateau, frozen, run_config)
  changeable = (
    *workdir_lib.MAY_CHANGE,
    *(f"run.{key}" for key in may_change),
  )
  frozen = mesh_lib.replicate(frozen, mesh)
  with contextlib.ExitStack() as stack:
    opened = workdir_lib.open_workdir(workdir, described, may_change=changeable)
    mesh_lib.in_first(functools.partial(stack.enter_context, opened))
    folder = workdir_lib.as_path(workdir)
    outputs = Outputs(task, config, folder)
    stack.callback(outputs.close)
    stopper = stack.enter_context(Stopper())
    run = Run(task, config, mesh, outputs, stopper, plateau, frozen)
    stack.callback(run.close)
    batches = run.start(make_train_batches, described, optimizer, init_from)
    step = make_train_step(task, config, mesh, optimizer, schedule)
    return run.run(step, batches, make_eval_batches)


class Run:
  """One start of a run."""

  def __init__(self, task, config, mesh, outputs, stopper, plateau, frozen):
    self.task, self.config, self.mesh = task, config, mesh
    self.outputs, self.stopper = outputs, stopper
    self.plateau, self.frozen = plateau, frozen
    self.monitor = Monitor()
    self.evaluator = Evaluator(task, mesh=mesh, frozen=frozen)
    self.pending = collections.deque()
    self.saved_step = None
    self.stop = False
    self.state: Any = None
    self.pace: Any = None
    self.batches: Any = None

  def start(self, make_train_batches, described, optimizer, init_from):
    """Sets the first state; returns the batches from there on."""
    start = Start(self.outputs.newest(), mesh=self.mesh)
    step = start.step or 0
    self.batches = iter(make_train_batches(step))
    batch = next(self.batches, None)
    if batch is None:
      raise TrainingError("there are no training batches")
    self.batch_size = mesh_lib.batch_size(batch) * jax.process_count()
    make_state = start.prepare(
      self.task, self.config, optimizer, batch, init_from, self.outputs.folder
    )
    if start.step is not None:
      self.monitor.__dict__.update(start.beside)
      self.saved_step = start.step
    self.outputs.open(step, self.monitor.evaluated_step == step, described)
    self.state = make_state()
    self.pace = Pace(
      start_step=step,
      num_steps=self.config.num_steps,
      show=self.config.progress,
      active=jax.process_index() == 0,
    )
    return mesh_lib.ahead(self.sharded(batch))

  def sharded(self, batch):
    """Batches as global arrays, with word of a signal among processes."""
    while batch is not None:
      if jax.process_count() > 1:
        size = mesh_lib.batch_size(batch)
        stop = np.full(size, self.stopper.signal is not None, np.float32)
        batch = {**batch, "stop": stop}
      yield mesh_lib.shard_batch(batch, self.mesh)
      batch = next(self.batches, None)

  def run(self, train_step, batches, make_eval_batches):
    """From the first state to the end."""
    self.make_eval_batches = make_eval_batches
    step = int(self.state.step)
    reason = self.after(step) if step else None
    while reason is None and step < self.config.num_steps:
      self.outputs.profile(step, self.state)
      batch = next(batches, None)
      if batch is None:
        raise TrainingError(f"the training batches ran out at step {step}")
      self.state, scalars = train_step(self.state, batch, self.frozen)
      step += 1
      scalars.values.copy_to_host_async()
      self.pending.append((step, scalars))
      # The step before has had its time; this one runs on meanwhile.
      self.settle(leave=1)
      reason = self.after(step)
    # The checkpoint first: who sent a signal may not wait for long.
    self.outputs.wait()
    self.export("last", step)
    return FitResult(
      state=self.state,
      variables=self.state.eval_variables,
      reason=reason or "finished",
      signal=self.stopper.signal if reason == "signal" else None,
      best_step=self.monitor.best_step,
      best_value=self.monitor.best_value,
      metrics=self.monitor.metrics,
    )

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
      stop = stop or (jax.process_count() == 1 and self.stopper.signal)
    over = monitor.is_over(config)
    if stop or last or improved or over or step % config.checkpoint_every == 0:
      self.save(step)
    if stop:
      self.say(f"stopped by a signal after step {step}; checkpoint written")
      return "signal"
    if over:
      self.say(
        f"stopped after step {step}: {monitor.num_worse} evaluations without "
        f"an improvement since step {monitor.best_step}"
      )
      return "early_stop"
    return None

  def settle(self, *, leave):
    """Takes in the values of all but the latest steps."""
    while len(self.pending) > leave:
      step, scalars = self.pending.popleft()
      values = np.asarray(scalars.values).tolist()
      row = dict(zip(scalars.names, values, strict=True))
      self.pace.step()
      self.stop |= bool(row.pop("stop", 0))
      self.monitor.period.append(row)
      if not row["is_finite"]:
        self.skipped(step, row)

  def skipped(self, step, row):
    """Says that an update was skipped; raises if too many were."""
    in_row = int(row["skipped_in_row"])
    self.say(
      f"step {step}: loss {row['loss']:g}, gradient norm "
      f"{row['grad_norm']:g}; update skipped ({in_row} in a row, "
      f"{int(row['skipped'])} in all)"
    )
    names = ("loss", "grad_norm", "skipped_in_row")
    self.outputs.scalars(step, "skipped", {name: row[name] for name in names})
    if in_row >= self.config.max_skipped_in_row:
      raise TrainingError(
        f"stopped at step {step}: the loss or a gradient was not finite "
        f"{in_row} times in a row, since step {step - in_row + 1}; the last "
        f"good checkpoint {self.outputs.kept()}. Lower the learning rate or "
        "look at the data"
      )

  def log(self, step):
    """Writes the means since the last line of the log."""
    values = self.monitor.period_means()
    if values:
      values |= self.pace.speeds(batch_size=self.batch_size)
      self.outputs.scalars(step, "train", values)
      self.pace.report(step, values)

  def evaluate(self, step):
    """Evaluates; takes what follows from it; returns if it is the best."""
    if self.make_eval_batches is None:
      return False
    self.settle(leave=0)
    with self.pace.pause():
      alone = jax.process_count() == 1
      values = self.evaluator.evaluate(
        self.state.eval_variables,
        self.make_eval_batches(),
        interrupted=lambda: alone and self.stopper.signal is not None,
      )
      if values is None:
        return False
      improved = self.monitor.update(step, values, self.config)
      if self.monitor.take_plateau(self.plateau):
        self.scale_updates(step)
      self.outputs.scalars(step, "eval", values)
      shown = ", ".join(f"{k} {v:.3f}" for k, v in sorted(values.items()))
      self.say(f"step {step} evaluation: {shown}{' (best)' * improved}")
      self.demo(step)
      if improved:
        self.export("best", step)
    return improved

  def demo(self, step):
    """Writes sounds and pictures when they are due."""
    config = self.config
    every = config.demo_every * max(config.eval_every, 1)
    if not (config.tensorboard and every and hasattr(self.task, "demo")):
      return
    if step in (config.eval_every, config.num_steps) or step % every == 0:
      signals = self.evaluator.demo(self.state.eval_variables)
      self.outputs.signals(step, signals)

  def scale_updates(self, step):
    """Multiplies the updates by the plateau's factor."""
    plateau, before = self.plateau, float(self.state.update_scale)
    scale = max(before * plateau.factor, min(plateau.min_scale, before))
    self.state = self.state.replace(
      update_scale=mesh_lib.replicate(np.float32(scale), self.mesh)
    )
    self.say(
      f"step {step}: no improvement in {plateau.patience} evaluations, updates "
      f"scaled by {scale:.3g}"
    )

  def save(self, step):
    """Starts to write a checkpoint if there is none of this step."""
    if self.saved_step != step:
      self.settle(leave=0)
      with self.pace.pause():
        self.outputs.save(step, self.state, self.monitor)
      self.saved_step = step

  def export(self, name, step):
    """Writes a model folder with what was measured of it."""
    evaluated = self.monitor.evaluated_step == step
    metrics = dict(self.monitor.metrics) if evaluated else {}
    metadata = {"step": step, "metrics": metrics}
    self.outputs.export(name, self.state.eval_variables, metadata)

  def say(self, line):
    """Prints a line, in one process."""
    if jax.process_index() == 0:
      say(line)

  def close(self):
    """Ends the progress bar and the reading of batches."""
    for part in (self.pace, self.batches):
      if hasattr(part, "close"):
        part.close()
