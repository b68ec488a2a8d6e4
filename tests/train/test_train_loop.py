"""The training loop on a toy task, in this process."""

import dataclasses

import jax
import numpy as np
import pytest
import toy_task
from toy_fit import fit, log_of

from jaxsep import train
from jaxsep.train import mesh as mesh_lib
from jaxsep.train import optimizer

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


def test_extended_run_logs_no_step_twice(tmp_path):
  fit(tmp_path, checkpoint_every=3, num_steps=9, log_every=1)
  # As if the run had died after logging, before a checkpoint.
  with open(tmp_path / "log.jsonl", "a") as file:
    file.write('{"step": 10, "split": "train", "loss": 1}\n{"step": 11, "sp')
  fit(tmp_path, checkpoint_every=3, num_steps=12, log_every=1)
  steps = [line["step"] for line in log_of(tmp_path, "train")]
  assert steps == list(range(1, 13))


# Failures.


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
