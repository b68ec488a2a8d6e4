"""The one training loop.

Before the first step, in this order, each of them once:

1. The options and the monitored name are checked; the workdir is opened.
2. The newest good checkpoint is read, if there is one.
3. The first batch is drawn; it gives the shapes of the state. That the model
   can be saved, that `init_from` fits and that the disk has room is checked,
   and the state is made or restored.
4. `config.json` is written and the log opened.

After every step, in this order, each of them when it is due:

1. The log gets the means since its last line.
2. An evaluation; the plateau; sounds and pictures; `best/` if it is better.
3. A checkpoint, in the background, and the logs to a bucket.
4. The end: after a signal, the last step, or too long without improvement.

At the end the checkpoint is waited for, then `last/` is written.

Process 0 alone reads and writes the workdir, see `outputs`. What fails in one
process ends all of them, see `mesh.together` and `steps.Feed`.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax

from jaxsep.tasks import Batch, Task
from jaxsep.train import evaluation
from jaxsep.train import mesh as mesh_lib
from jaxsep.train import workdir as workdir_lib
from jaxsep.train.config import Plateau, TrainConfig
from jaxsep.train.monitor import Monitor
from jaxsep.train.outputs import Outputs
from jaxsep.train.pace import say
from jaxsep.train.start import describe_run, first_state
from jaxsep.train.state import FitResult, TrainState
from jaxsep.train.step import make_train_step
from jaxsep.train.steps import Feed, Steps
from jaxsep.train.stopping import noted_signals


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

  Called again with the same arguments, it goes on from the newest complete
  checkpoint and ends where an unbroken run would, bit for bit on a CPU. After
  SIGTERM or SIGINT it writes a checkpoint and `last/`, and returns.

  The workdir holds `config.json`, `log.jsonl`, `tensorboard/`, `checkpoints/`
  and the model folders `best/` and `last/`, which `jaxsep.load` reads.

  Args:
    task: What to train.
    workdir: Folder of the run: new, empty, or left by an earlier start. A path
      on this machine, or in a bucket such as `gs://bucket/run`.
    config: Options of the loop.
    optimizer: Makes updates of gradients, learning rate included. It sees the
      tree `{"params": ...}`, with `loss_params` if the task has them, without
      what is `fixed`. Only `run_config` can describe it.
    make_train_batches: From the first step to run to an endless iterator of
      batches; the batch of a step must depend on the step alone.
    make_eval_batches: To the evaluation set, the same one at every call; None
      evaluates nothing.
    schedule: The learning rate of each update, only to be logged.
    plateau: When and how the updates get smaller; None never scales them.
    init_from: Variables, all or whole parts of them, to start from. A run that
      goes on does not use them.
    frozen: Variables by name that `loss` and `evaluate` of the task are given
      and no step changes. They are in no checkpoint; their hashes are part of
      what describes the run.
    run_config: Anything else that fixes the run, as JSON values, compared when
      the run goes on.
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
    >>> sources = np.random.default_rng(0).normal(size=(2, 2, 800))
    >>> batch = {"index": np.arange(2), "sources": sources.astype(np.float32)}
    >>> result = fit(
    ...   task,
    ...   workdir=tempfile.mkdtemp(),
    ...   config=TrainConfig(num_steps=2, tensorboard=False, progress=False),
    ...   optimizer=optax.adam(1e-3),
    ...   make_train_batches=lambda start_step: iter([batch] * 2),
    ...   mesh=mesh_lib.make_mesh(jax.devices()[:1]),
    ... )
    >>> result.reason
    'finished'
  """
  declared = getattr(task, "per_example_loss", False)
  if config.num_microbatches > 1 and not declared:
    raise ValueError(
      f"num_microbatches is {config.num_microbatches}, but "
      f"{type(task).__name__} does not declare per_example_loss = True: its "
      "loss may compare the examples of a whole batch; set it to 1"
    )
  mesh = mesh_lib.make_mesh() if mesh is None else mesh
  if make_eval_batches is not None:
    evaluation.check(task, make_eval_batches(), config.monitor, frozen=frozen)
  described = describe_run(task, config, plateau, frozen, run_config)
  may_change = [f"run.{key}" for key in may_change]
  frozen = mesh_lib.replicate(frozen, mesh)
  with contextlib.ExitStack() as stack:
    opened = workdir_lib.open_workdir(workdir, described, may_change=may_change)
    mesh_lib.in_first(lambda: stack.enter_context(opened))
    outputs = Outputs(task, config, workdir_lib.as_path(workdir))
    stack.callback(outputs.close)
    signals = stack.enter_context(noted_signals())
    saved_step, arrays, beside = outputs.newest() or (None, None, {})
    saved_step, beside = mesh_lib.broadcast_json((saved_step, beside))
    monitor, step = Monitor(**beside), saved_step or 0
    feed = Feed(make_train_batches(step), step)
    stack.callback(feed.close)
    state = first_state(
      (task, config, optimizer),
      feed.first,
      restored=(saved_step, arrays),
      init_from=init_from,
      folder=outputs.folder,
      mesh=mesh,
    )
    del arrays
    outputs.open(step, monitor.evaluated_step == step, described)
    steps = Steps(
      config, step=step, outputs=outputs, monitor=monitor, feed=feed
    )
    stack.callback(steps.pace.close)
    run = Run(
      task=task,
      config=config,
      plateau=plateau,
      evaluator=evaluation.Evaluator(task, mesh, frozen),
      make_eval_batches=make_eval_batches,
      outputs=outputs,
      monitor=monitor,
      steps=steps,
      signals=signals,
      state=state,
      saved_step=saved_step,
    )
    train_step = make_train_step(task, config, mesh, optimizer, schedule)
    batches = feed.sharded(mesh, signals)
    return run.to_the_end(lambda x: train_step(x, next(batches), frozen))


@dataclasses.dataclass(kw_only=True)
class Run:
  """What happens from the first state on; see the top of this file."""

  task: Task
  config: TrainConfig
  plateau: Plateau | None
  evaluator: evaluation.Evaluator
  make_eval_batches: Callable[[], Iterable[Batch]] | None
  outputs: Outputs
  monitor: Monitor
  steps: Steps
  signals: list[int]
  state: TrainState
  saved_step: int | None

  def to_the_end(self, take_step: Callable[[TrainState], Any]) -> FitResult:
    """Takes the steps that are left, each with what is due after it."""
    step = int(self.state.step)
    reason = self.after(step) if step else None
    while reason is None and step < self.config.num_steps:
      self.outputs.profile(step, self.state)
      self.state, scalars = take_step(self.state)
      step += 1
      self.steps.add(step, scalars)
      reason = self.after(step)
    # The checkpoint first: who sent a signal may not wait for long.
    self.outputs.wait()
    self.export("last", step)
    return FitResult(
      state=self.state,
      variables=self.state.eval_variables,
      reason=reason or "finished",
      signal=next(iter(self.signals), None) if reason == "signal" else None,
      best_step=self.monitor.best_step,
      best_value=self.monitor.best_value,
      metrics=self.monitor.metrics,
    )

  def after(self, step: int) -> str | None:
    """Does what is due after a step; returns why to stop, or None."""
    config, monitor = self.config, self.monitor
    last = step >= config.num_steps
    to_log = last or step % config.log_every == 0
    if to_log or self.stopped():
      self.steps.settle()
    if to_log and self.saved_step != step:
      self.steps.log(step)
    improved = False
    due = last or (config.eval_every and step % config.eval_every == 0)
    if due and not self.stopped() and monitor.evaluated_step != step:
      improved = self.evaluate(step)
    stop, over = self.stopped(), monitor.is_over(config)
    if stop or last or improved or over or step % config.checkpoint_every == 0:
      self.save(step)
    if stop:
      say(f"stopped by a signal after step {step}; checkpoint written")
      return "signal"
    if over:
      say(
        f"stopped after step {step}: {monitor.num_worse} evaluations without "
        f"an improvement since step {monitor.best_step}"
      )
      return "early_stop"
    return None

  def stopped(self) -> bool:
    """Whether a signal came, the same in every process."""
    alone = jax.process_count() == 1
    return bool(self.signals) if alone else self.steps.stop

  def evaluate(self, step: int) -> bool:
    """Evaluates; scales updates, exports; returns whether it is the best."""
    if self.make_eval_batches is None:
      return False
    self.steps.settle()
    with self.steps.pace.pause():
      values = self.evaluator.evaluate(
        self.state.eval_variables,
        self.make_eval_batches(),
        interrupted=self.stopped,
      )
      if values is None:
        return False
      evaluation.check_monitor(self.config.monitor, values)
      improved = self.monitor.update(step, values, self.config)
      if self.monitor.take_plateau(self.plateau):
        self.scale_updates(step)
      self.outputs.scalars(step, "eval", values)
      shown = ", ".join(f"{k} {v:.3f}" for k, v in sorted(values.items()))
      say(f"step {step} evaluation: {shown}{' (best)' * improved}")
      self.demo(step)
      if improved:
        self.export("best", step)
    return improved

  def demo(self, step: int) -> None:
    """Writes sounds and pictures when they are due."""
    config = self.config
    every = config.demo_every * max(config.eval_every, 1)
    if not (config.tensorboard and every and hasattr(self.task, "demo")):
      return
    if step in (config.eval_every, config.num_steps) or step % every == 0:
      signals = self.evaluator.demo(self.state.eval_variables)
      self.outputs.signals(step, signals)

  def scale_updates(self, step: int) -> None:
    """Multiplies the updates by the plateau's factor."""
    plateau: Any = self.plateau
    old = self.state.update_scale
    scale = max(float(old) * plateau.factor, min(plateau.min_scale, float(old)))
    scaled = mesh_lib.replicate(np.float32(scale), old.sharding.mesh)
    self.state = self.state.replace(update_scale=scaled)
    say(
      f"step {step}: no improvement in {plateau.patience} evaluations, updates "
      f"scaled by {scale:.3g}"
    )

  def save(self, step: int) -> None:
    """Starts to write a checkpoint if there is none of this step."""
    if self.saved_step != step:
      self.steps.settle()
      with self.steps.pace.pause():
        self.outputs.save(step, self.state, self.monitor)
      self.saved_step = step

  def export(self, name: str, step: int) -> None:
    """Writes a model folder with what was measured of it."""
    evaluated = self.monitor.evaluated_step == step
    metrics = dict(self.monitor.metrics) if evaluated else {}
    variables = self.state.eval_variables
    self.outputs.export(name, variables, {"step": step, "metrics": metrics})
