"""The training loop on a toy task, in this process."""

import dataclasses

import jax
import numpy as np
import optax
import pytest
import toy_task
from toy_fit import fit, log_of

import jaxsep
from jaxsep import tasks, train

# Reference.


def test_equals_adam_written_out(tmp_path):
  result = fit(tmp_path, num_steps=3, make_eval_batches=None)
  task = toy_task.ToyTask()
  key = jax.random.key(0)
  params = task.init(key, toy_task.batch_at(0))["params"]["out"]
  mean = jax.tree.map(np.zeros_like, params)
  power = jax.tree.map(np.zeros_like, params)

  def total(params, step):
    batch = toy_task.batch_at(step)
    keys = tasks.Keys.of(key, batch["index"], step=step)
    variables = {"params": {"out": params}}
    return task.loss(variables, batch, keys=keys, step=step)[0].mean()

  for i in range(3):
    grads = jax.grad(total)(params, i)
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
    np.testing.assert_allclose(
      result.variables["params"]["out"][name], value, rtol=2e-5, atol=1e-7
    )


def test_log_holds_the_means_of_each_period(tmp_path, capfd):
  schedule = optax.linear_schedule(1e-3, 0.0, 10)
  result = fit(tmp_path, optimizer=optax.adam(schedule), schedule=schedule)
  lines = log_of(tmp_path, "train")
  assert [line["step"] for line in lines] == [4, 8, 10]
  assert {"loss", "error", "grad_norm", "skipped"} <= set(lines[0])
  # That of the step before: the first step has the rate at 0.
  assert lines[0]["learning_rate"] == pytest.approx(7e-4)
  evaluations = log_of(tmp_path, "eval")
  assert [line["step"] for line in evaluations] == [5, 10]
  assert evaluations[-1]["loss"] == result.metrics["loss"]
  said = capfd.readouterr().err
  assert "18 parameters" in said and "steps/s" in said


def test_average_follows_all_but_constants(tmp_path):
  class Constants(toy_task.ToyTask):
    """Has statistics of its features, which nothing changes."""

    def init(self, key, batch):
      mean = jax.numpy.full(5, 0.5)
      return {**super().init(key, batch), "constants": {"mean": mean}}

  task = Constants(model=toy_task.ToyModel(norm=True))
  result = fit(tmp_path, task=task, num_steps=1, ema_decay=0.99)
  before = task.init(jax.random.key(0), toy_task.batch_at(0))
  after = result.state.variables
  assert set(result.state.ema) == {"params", "batch_stats"}
  # Young averages forget fast: (1 + 0) / (10 + 0) of the old one is kept.
  for name in ("params", "batch_stats"):
    old, new, mean = map(
      _flat, (before[name], after[name], result.variables[name])
    )
    np.testing.assert_allclose(mean, 0.1 * old + 0.9 * new, rtol=1e-5)
    assert not np.array_equal(old, new)
  np.testing.assert_array_equal(result.variables["constants"]["mean"], 0.5)
  loaded = jaxsep.load(tmp_path / "best", model_class=toy_task.ToyModel)
  toy_task.assert_same(loaded.variables, result.variables)


def _flat(tree):
  return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


# Laws.


def test_devices_do_not_change_the_loss(tmp_path):
  task = toy_task.ToyTask(model=toy_task.ToyModel(norm=True, dropout=0.5))
  runs = [
    fit(tmp_path / str(n), task=task, devices=n, log_every=1) for n in (1, 8)
  ]
  losses = [
    [line["loss"] for line in log_of(tmp_path / str(n), "train")]
    for n in (1, 8)
  ]
  np.testing.assert_allclose(losses[0][0], losses[1][0], rtol=1e-5)
  np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
  np.testing.assert_allclose(
    *[_flat(run.variables["params"]) for run in runs], rtol=1e-4, atol=1e-6
  )


def test_microbatches_equal_the_whole_batch(tmp_path):
  runs = [
    fit(tmp_path / str(n), devices=2, num_microbatches=n, log_every=1)
    for n in (1, 4)
  ]
  np.testing.assert_allclose(
    *[_flat(run.variables) for run in runs], rtol=1e-5, atol=1e-6
  )
  errors = [log_of(tmp_path / str(n), "train")[0]["error"] for n in (1, 4)]
  np.testing.assert_allclose(*errors, rtol=1e-5)


def test_is_traced_once(tmp_path):
  traces = []

  class Counting(toy_task.ToyTask):
    def loss(self, variables, batch, **options):
      traces.append("loss")
      return super().loss(variables, batch, **options)

    def evaluate(self, variables, batch, **options):
      traces.append("evaluate")
      return super().evaluate(variables, batch, **options)

  options = {
    "task": Counting(),
    "plateau": train.Plateau(patience=1),
    "eval_every": 2,
    "monitor": "error",
    "monitor_mode": "max",
  }
  fit(tmp_path, num_steps=12, **options)
  # The evaluation's other trace is the look at its names.
  assert len(traces) == 3 and traces.count("evaluate") == 2
  # Nor does a state that was read compile anything else.
  fit(tmp_path, num_steps=14, **options)
  assert len(traces) == 6


def test_extended_run_logs_no_step_twice(tmp_path):
  fit(tmp_path, checkpoint_every=3, num_steps=9, log_every=1)
  # As if the run had died after logging, before a checkpoint.
  with open(tmp_path / "log.jsonl", "a") as file:
    file.write('{"step": 10, "split": "train", "loss": 1}\n{"step": 11, "sp')
  fit(tmp_path, checkpoint_every=3, num_steps=12, log_every=1)
  steps = [line["step"] for line in log_of(tmp_path, "train")]
  assert steps == list(range(1, 13))


def test_trace_of_a_few_steps_is_written(tmp_path):
  fit(tmp_path, profile_step=3)
  assert list((tmp_path / "profile").rglob("*.pb"))


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
    fit(tmp_path, make_train_batches=lambda _: iter([batch] * 99), devices=8)


@pytest.mark.parametrize(
  ("option", "value"),
  [
    ("num_steps", 0),
    ("ema_decay", 1.5),
    ("monitor_mode", "best"),
    ("early_stop_patience", 0),
    ("eval_every", -1),
    ("seed", 2**32),
  ],
)
def test_options_out_of_range(option, value):
  with pytest.raises(ValueError, match=option):
    train.TrainConfig(**{"num_steps": 1, option: value})


def test_changed_config_is_refused(tmp_path):
  fit(tmp_path, num_steps=2, run_config={"corpus": {"root": "a", "seed": 1}})
  with pytest.raises(train.TrainingError) as error:
    fit(
      tmp_path,
      num_steps=2,
      run_config={"corpus": {"root": "b", "seed": 2}},
      may_change=["corpus.root"],
      task=dataclasses.replace(toy_task.ToyTask(), noise=0.2),
      seed=1,
    )
  message = str(error.value)
  assert "train.seed is 1, was 0" in message
  assert "run.corpus.seed is 2, was 1" in message
  assert "task.noise is 0.2, was 0.1" in message
  assert "corpus.root" not in message and "\n" not in message


def test_model_that_cannot_be_saved_is_found_before_the_first_step(tmp_path):
  class NoStep(toy_task.ToyTask):
    def loss(self, *args, **options):
      raise AssertionError("a step was taken")

  class Unnamed(toy_task.ToyModel):
    activation: object = None

  task = NoStep(model=Unnamed(activation=lambda x: x))
  with pytest.raises(ValueError, match="activation"):
    fit(tmp_path, task=task)
  # Put right, it may use the folder.
  assert fit(tmp_path).reason == "finished"
