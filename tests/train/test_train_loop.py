"""The training loop on a toy task, in this process."""

import dataclasses
import errno
import json
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_task

from jaxsep import train
from jaxsep.train import mesh as mesh_lib
from jaxsep.train import optimizer, writer


def config(**options):
  options = {
    "num_steps": 10,
    "log_every": 4,
    "eval_every": 5,
    "checkpoint_every": 5,
    "tensorboard": False,
    **options,
  }
  return train.TrainConfig(**options)


def fit(workdir, *, task=None, make_train_batches=None, **options):
  fit_options = {
    name: options.pop(name)
    for name in ("make_eval_batches", "run_config", "may_change", "mesh")
    if name in options
  }
  fit_options.setdefault("make_eval_batches", toy_task.eval_batches)
  fit_options.setdefault("mesh", one_device())
  return train.fit(
    toy_task.ToyTask() if task is None else task,
    workdir=workdir,
    config=config(**options),
    make_train_batches=make_train_batches or toy_task.train_batches,
    **fit_options,
  )


def log_of(workdir, split=None):
  lines = (workdir / "log.jsonl").read_text().splitlines()
  lines = [json.loads(line) for line in lines]
  return [line for line in lines if split in (None, line["split"])]


def one_device():
  return mesh_lib.make_mesh(jax.devices()[:1])


# Reference.


def test_equals_adam_written_out(tmp_path):
  result = fit(tmp_path, num_steps=3, make_eval_batches=None)
  task = toy_task.ToyTask()
  key = jax.random.key(0)
  params, state = task.init(key, toy_task.batch_at(0))
  mean = jax.tree.map(np.zeros_like, params)
  power = jax.tree.map(np.zeros_like, params)

  def total(params, batch):
    return task.loss(params, state, batch, key=key)[0].mean()

  for i in range(3):
    grads = jax.grad(total)(params, toy_task.batch_at(i))
    leaves = jax.tree.leaves(grads)
    norm = np.sqrt(sum(float((g**2).sum()) for g in leaves))
    for name in params:
      grad = grads[name] * min(1.0, 5.0 / norm)
      mean[name] = 0.9 * mean[name] + 0.1 * grad
      power[name] = 0.999 * power[name] + 0.001 * grad**2
      scale = np.sqrt(power[name] / (1 - 0.999 ** (i + 1))) + 1e-8
      step = mean[name] / (1 - 0.9 ** (i + 1)) / scale
      params[name] = params[name] - 1e-3 * step
  for name, value in params.items():
    np.testing.assert_allclose(result.params[name], value, rtol=2e-5)


def test_log_holds_the_means_of_each_period(tmp_path):
  result = fit(tmp_path, num_steps=10)
  lines = log_of(tmp_path, "train")
  assert [line["step"] for line in lines] == [4, 8, 10]
  assert {"loss", "error", "grad_norm", "learning_rate", "skipped"} <= set(
    lines[0]
  )
  assert lines[0]["learning_rate"] == pytest.approx(1e-3)
  evaluations = log_of(tmp_path, "eval")
  assert [line["step"] for line in evaluations] == [5, 10]
  assert evaluations[-1]["loss"] == result.metrics["loss"]


def test_evaluation_leaves_padding_out(tmp_path):
  result = fit(tmp_path, num_steps=1, mesh=None)
  task = toy_task.ToyTask()
  rows = [
    task.evaluate(result.params, None, batch, key=jax.random.key(0))["loss"]
    for batch in toy_task.eval_batches()
  ]
  # 19 examples in batches of 8, 8 and 3, on 8 devices.
  np.testing.assert_allclose(
    result.metrics["loss"], np.concatenate(rows).mean(), rtol=1e-5
  )


# Laws.


def test_going_on_equals_an_unbroken_run(tmp_path):
  whole = fit(tmp_path / "whole", ema_decay=0.9)
  fit(tmp_path / "parts", ema_decay=0.9, num_steps=5)
  parts = fit(tmp_path / "parts", ema_decay=0.9)
  toy_task.assert_same(whole.state, parts.state)
  assert whole.metrics == parts.metrics


def test_going_on_with_muon_equals_an_unbroken_run(tmp_path, monkeypatch):
  # The toy's kernel is smaller than those that Muon is for.
  monkeypatch.setattr(optimizer, "_SMALLEST_KERNEL", 2)
  muon = train.OptimizerConfig(name="muon")
  whole = fit(tmp_path / "whole", optimizer=muon)
  fit(tmp_path / "parts", optimizer=muon, num_steps=5)
  parts = fit(tmp_path / "parts", optimizer=muon)
  toy_task.assert_same(whole.state, parts.state)
  adam = fit(tmp_path / "adam")
  assert not np.allclose(adam.params["w"], whole.params["w"])


def test_finished_run_returns_what_it_had(tmp_path):
  first, again = fit(tmp_path), fit(tmp_path)
  toy_task.assert_same(first.state, again.state)
  assert again.reason == "finished"
  steps = [(line["step"], line["split"]) for line in log_of(tmp_path)]
  assert len(steps) == len(set(steps))


def test_devices_do_not_change_the_loss(tmp_path):
  one = fit(tmp_path / "one", log_every=1)
  eight = fit(tmp_path / "eight", log_every=1, mesh=None)
  losses = [
    [line["loss"] for line in log_of(tmp_path / name, "train")]
    for name in ("one", "eight")
  ]
  np.testing.assert_allclose(losses[0][0], losses[1][0], rtol=1e-5)
  np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
  np.testing.assert_allclose(one.params["w"], eight.params["w"], rtol=1e-4)


@pytest.mark.parametrize("devices", [1, 2])
def test_microbatches_equal_the_whole_batch(tmp_path, devices):
  mesh = mesh_lib.make_mesh(jax.devices()[:devices])
  whole = fit(tmp_path / "whole", mesh=mesh)
  adam = train.OptimizerConfig(num_microbatches=4)
  parts = fit(tmp_path / "parts", mesh=mesh, optimizer=adam)
  for name in ("w", "b"):
    np.testing.assert_allclose(
      whole.params[name], parts.params[name], rtol=1e-5, atol=1e-6
    )
  np.testing.assert_allclose(
    whole.state.model_state["seen"], parts.state.model_state["seen"], rtol=1e-5
  )


def test_loss_goes_down(tmp_path):
  adam = train.OptimizerConfig(learning_rate=0.05)
  every = {"log_every": 20, "eval_every": 100, "checkpoint_every": 100}
  fit(tmp_path, num_steps=200, optimizer=adam, **every)
  losses = [line["loss"] for line in log_of(tmp_path, "train")]
  assert losses[-1] < 0.1 * losses[0]


def test_is_traced_once(tmp_path):
  traces = []

  class Counting(toy_task.ToyTask):
    def loss(self, params, model_state, batch, *, key):
      traces.append(batch["x"].shape)
      return super().loss(params, model_state, batch, key=key)

    def evaluate(self, params, model_state, batch, *, key):
      traces.append("evaluate")
      return super().evaluate(params, model_state, batch, key=key)

  adam = train.OptimizerConfig(schedule="plateau", plateau_patience=1)
  fit(
    tmp_path,
    task=Counting(),
    optimizer=adam,
    num_steps=12,
    eval_every=2,
    monitor="error",
    monitor_mode="max",
  )
  # The evaluation's other trace is the look at its names.
  assert len(traces) == 3 and traces.count("evaluate") == 2
  # Nor does a state that was read compile anything else.
  fit(
    tmp_path,
    task=Counting(),
    optimizer=adam,
    num_steps=14,
    eval_every=2,
    monitor="error",
    monitor_mode="max",
  )
  assert len(traces) == 6


def test_average_follows_the_parameters(tmp_path):
  result = fit(tmp_path, num_steps=1, ema_decay=0.99)
  before = toy_task.ToyTask().init(jax.random.key(0), toy_task.batch_at(0))[0]
  # Young averages forget fast: (1 + 0) / (10 + 0) of the old one is kept.
  expected = 0.1 * before["w"] + 0.9 * result.state.params["w"]
  np.testing.assert_allclose(result.params["w"], expected, rtol=1e-5)
  exported = np.load(tmp_path / "best" / "params.npz")
  np.testing.assert_array_equal(exported["w"], result.params["w"])


def test_best_is_exported_and_its_checkpoint_kept(tmp_path):
  adam = train.OptimizerConfig(learning_rate=0.3)
  result = fit(
    tmp_path,
    num_steps=24,
    eval_every=2,
    checkpoint_every=2,
    keep_checkpoints=1,
    monitor_mode="max",
    optimizer=adam,
  )
  values = {x["step"]: x["loss"] for x in log_of(tmp_path, "eval")}
  assert result.best_step == max(values, key=values.get)
  kept = {int(p.name) for p in (tmp_path / "checkpoints").iterdir()}
  assert kept == {result.best_step, 24}
  assert (tmp_path / "last" / "params.npz").exists()


def test_plateau_halves_the_rate_and_survives_a_restart(tmp_path):
  # "max" of a loss that falls: nothing after the first is an improvement.
  options = {
    "optimizer": train.OptimizerConfig(schedule="plateau"),
    "eval_every": 1,
    "log_every": 1,
    "monitor_mode": "max",
  }
  adam = options["optimizer"]
  assert (adam.plateau_patience, adam.plateau_factor) == (3, 0.5)
  fit(tmp_path / "whole", num_steps=9, **options)
  rates = [
    line["learning_rate"] for line in log_of(tmp_path / "whole", "train")
  ]
  np.testing.assert_allclose(
    rates, [1e-3] * 4 + [5e-4] * 3 + [2.5e-4] * 2, rtol=1e-6
  )
  for steps in (3, 6, 9):
    fit(tmp_path / "parts", num_steps=steps, **options)
  parts = [
    line["learning_rate"] for line in log_of(tmp_path / "parts", "train")
  ]
  assert parts == rates


def test_stops_early(tmp_path):
  options = {"eval_every": 2, "monitor_mode": "max", "early_stop_patience": 3}
  result = fit(tmp_path, num_steps=50, **options)
  assert result.reason == "early_stop"
  assert int(result.state.step) == 8
  # Started again, it has nothing more to do.
  again = fit(tmp_path, num_steps=50, **options)
  assert again.reason == "early_stop"
  toy_task.assert_same(result.state, again.state)


def test_extended_run_logs_no_step_twice(tmp_path):
  fit(tmp_path, checkpoint_every=3, num_steps=9, log_every=1)
  # As if the run had died after logging, before a checkpoint.
  with open(tmp_path / "log.jsonl", "a") as file:
    file.write('{"step": 10, "split": "train", "loss": 1}\n{"step": 11, "sp')
  fit(tmp_path, checkpoint_every=3, num_steps=12, log_every=1)
  steps = [line["step"] for line in log_of(tmp_path, "train")]
  assert steps == list(range(1, 13))


def test_tensorboard_holds_sound_and_pictures(tmp_path):
  fit(tmp_path, tensorboard=True)
  data = b"".join(p.read_bytes() for p in (tmp_path / "tensorboard").iterdir())
  for tag in (b"train/loss", b"eval/loss", b"audio/estimate_2", b"\x89PNG"):
    assert tag in data
  assert b"RIFF" in data


def test_demos_are_as_many_as_asked_for(tmp_path, monkeypatch):
  steps = []
  monkeypatch.setattr(
    writer.Writer, "signals", lambda self, step, *_, **__: steps.append(step)
  )
  fit(tmp_path, num_steps=20, eval_every=2, demo_every=3, tensorboard=True)
  assert steps == [2, 6, 12, 18, 20]


# Failures.


def poisoned(*steps):
  def batches(start_step):
    for i, batch in enumerate(toy_task.train_batches(start_step), start_step):
      if i + 1 in steps:
        batch["x"][0, 0] = np.nan
      yield batch

  return batches


def test_update_that_is_not_finite_is_skipped(tmp_path, capfd):
  result = fit(tmp_path, make_train_batches=poisoned(4, 7), log_every=1)
  assert int(result.state.skipped) == 2
  assert int(result.state.skipped_in_row) == 0
  assert all(
    np.isfinite(x).all() for x in toy_task.arrays(result.state).values()
  )
  said = capfd.readouterr().err
  assert "step 4: loss nan" in said and "step 7: loss nan" in said
  lines = log_of(tmp_path, "skipped")
  assert [(x["step"], x["loss"]) for x in lines] == [(4, None), (7, None)]
  # The step is as if it had not been.
  without = fit(
    tmp_path / "without",
    make_train_batches=lambda start: (
      toy_task.batch_at(i) for i in range(start, 99) if i + 1 != 4
    ),
    num_steps=5,
  )
  with_it = fit(tmp_path / "with", make_train_batches=poisoned(4), num_steps=6)
  np.testing.assert_array_equal(without.params["w"], with_it.params["w"])


def test_gradient_that_is_not_finite_is_skipped(tmp_path, capfd):
  class Rooted(toy_task.ToyTask):
    """Its loss is finite at every step, its gradient not at step 4."""

    def loss(self, params, model_state, batch, *, key):
      loss, rest = super().loss(params, model_state, batch, key=key)
      w = params["w"][0, 0]
      # 0 at step 4 (examples 24 to 31), where the root has no slope.
      inside = jnp.where(batch["index"] // 8 == 3, w - w, w**2 + 1)
      return loss + 0 * jnp.sqrt(inside), rest

  result = fit(tmp_path / "with", task=Rooted(), num_steps=6, log_every=1)
  assert int(result.state.skipped) == 1
  said = capfd.readouterr().err
  assert "step 4: loss " in said and "gradient norm nan" in said
  assert "loss nan" not in said
  (line,) = log_of(tmp_path / "with", "skipped")
  assert line["step"] == 4 and line["grad_norm"] is None
  assert np.isfinite(line["loss"])
  without = fit(
    tmp_path / "without",
    make_train_batches=lambda start: (
      toy_task.batch_at(i) for i in range(start, 99) if i + 1 != 4
    ),
    num_steps=5,
  )
  np.testing.assert_allclose(without.params["w"], result.params["w"], rtol=1e-6)


def test_many_skipped_updates_stop_the_run(tmp_path):
  with pytest.raises(train.TrainingError) as error:
    fit(
      tmp_path,
      make_train_batches=poisoned(*range(7, 99)),
      max_skipped_in_row=3,
      num_steps=50,
    )
  message = str(error.value)
  assert "stopped at step 9" in message and "since step 7" in message
  assert "of step 5 is kept" in message and "\n" not in message
  assert (tmp_path / "checkpoints" / "00000005").is_dir()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_with_a_checkpoint(tmp_path, number):
  def batches(start_step):
    for i, batch in enumerate(toy_task.train_batches(start_step), start_step):
      if i == 7 and start_step == 0:
        signal.raise_signal(number)
      yield batch

  before = signal.getsignal(number)
  options = {"num_steps": 20, "log_every": 3}
  first = fit(tmp_path / "a", make_train_batches=batches, **options)
  assert signal.getsignal(number) is before
  assert (first.reason, first.signal) == ("signal", number)
  stopped = int(first.state.step)
  assert stopped in (6, 7, 8)
  assert (tmp_path / "a" / "checkpoints" / f"{stopped:08d}").is_dir()
  exported = np.load(tmp_path / "a" / "last" / "params.npz")
  np.testing.assert_array_equal(exported["w"], first.params["w"])
  second = fit(tmp_path / "a", **options)
  whole = fit(tmp_path / "b", **options)
  toy_task.assert_same(second.state, whole.state)

  def values(folder):
    return [
      {k: v for k, v in line.items() if not k.endswith("per_second")}
      for line in log_of(folder)
    ]

  assert values(tmp_path / "a") == values(tmp_path / "b")


def test_signal_during_evaluation_is_made_up_for(tmp_path):
  calls = []

  def evaluation():
    calls.append(None)
    for i, batch in enumerate(toy_task.eval_batches()):
      # The first call is for a look at the first batch.
      if len(calls) == 2 and i == 1:
        signal.raise_signal(signal.SIGTERM)
      yield batch

  first = fit(tmp_path, make_eval_batches=evaluation)
  assert first.reason == "signal" and int(first.state.step) == 5
  fit(tmp_path, make_eval_batches=evaluation)
  assert [x["step"] for x in log_of(tmp_path, "eval")] == [5, 10]


def test_batches_that_run_out(tmp_path):
  with pytest.raises(train.TrainingError, match="ran out at step 3"):
    fit(
      tmp_path,
      make_train_batches=lambda start: iter(
        [toy_task.batch_at(i) for i in range(start, 3)]
      ),
    )


def test_batch_that_does_not_spread(tmp_path):
  batch = toy_task.batch_at(0, size=6)
  with pytest.raises(ValueError, match="multiple of 8"):
    fit(
      tmp_path,
      make_train_batches=lambda start: iter([batch] * 99),
      mesh=None,
    )


class FullDisk:
  """A log that takes some lines and no more."""

  def __init__(self, num_lines):
    self.num_lines = num_lines

  def write(self, line):
    self.num_lines -= 1

  def flush(self):
    if self.num_lines < 0:
      raise OSError(errno.ENOSPC, "No space left on device")

  close = flush


@pytest.mark.parametrize(
  ("num_lines", "message"),
  [
    (0, "step 4: .*log.jsonl .No space left.*; .* was not written yet"),
    (2, "step 8: .*log.jsonl .No space left.*; .* of step 5 is kept"),
  ],
)
def test_log_that_cannot_be_written(tmp_path, monkeypatch, num_lines, message):
  # Lines are those of steps 4, 5 (the evaluation) and 8.
  disk = FullDisk(num_lines)
  monkeypatch.setattr(writer, "open", lambda *_: disk, raising=False)
  with pytest.raises(train.TrainingError, match=message):
    fit(tmp_path)
  monkeypatch.undo()
  assert int(fit(tmp_path).state.step) == 10


def test_unknown_monitor(tmp_path):
  with pytest.raises(train.TrainingError, match=r"cannot monitor 'wer'.*error"):
    fit(tmp_path, monitor="wer")
  # Found before the first step, and the name can be put right.
  assert not list(tmp_path.iterdir())
  assert fit(tmp_path, monitor="error").reason == "finished"


def test_empty_evaluation_set(tmp_path):
  with pytest.raises(train.TrainingError, match="no examples"):
    fit(tmp_path, make_eval_batches=lambda: [])


@pytest.mark.parametrize(
  ("option", "value"),
  [
    ("num_steps", 0),
    ("ema_decay", 1.5),
    ("monitor_mode", "best"),
    ("early_stop_patience", 0),
    ("eval_every", -1),
    ("seed", -1),
    ("seed", 2**32),
  ],
)
def test_options_out_of_range(tmp_path, option, value):
  with pytest.raises(ValueError, match=option):
    fit(tmp_path, **{option: value})


def test_changed_config_is_refused(tmp_path):
  fit(tmp_path, num_steps=2, run_config={"corpus": {"root": "a", "seed": 1}})
  run_config = {"corpus": {"root": "b", "seed": 2}}
  adam = train.OptimizerConfig(learning_rate=0.5)
  with pytest.raises(train.TrainingError) as error:
    fit(
      tmp_path,
      num_steps=2,
      optimizer=adam,
      run_config=run_config,
      may_change=["corpus.root"],
      task=dataclasses.replace(toy_task.ToyTask(), noise=0.2),
    )
  message = str(error.value)
  assert "train.optimizer.learning_rate is 0.5, was 0.001" in message
  assert "run.corpus.seed is 2, was 1" in message
  assert "task.noise is 0.2, was 0.1" in message
  assert "corpus.root" not in message and "\n" not in message
