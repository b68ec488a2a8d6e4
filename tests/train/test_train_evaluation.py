"""Evaluations of a run, and what follows from them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_task
from toy_fit import checkpoints_of, fit, log_of

from jaxsep import tasks, train
from jaxsep.train import mesh as mesh_lib
from jaxsep.train import writer

# Reference.


def test_means_leave_padding_out_and_average_over_all_axes(tmp_path):
  result = fit(tmp_path, num_steps=1, devices=8)
  task = toy_task.ToyTask()
  rows = [
    task.evaluate(
      result.variables, batch, keys=tasks.Keys.evaluation(batch["index"])
    )
    for batch in toy_task.eval_batches()
  ]
  # 19 examples in batches of 8, 8 and 3, on 8 devices; errors are [B, 3].
  for name in ("loss", "error"):
    expected = np.concatenate([row[name] for row in rows]).mean()
    np.testing.assert_allclose(result.metrics[name], expected, rtol=1e-5)


def test_weighted_means_and_summaries_across_a_padded_batch(tmp_path):
  for devices in (1, 8):
    result = fit(
      tmp_path / str(devices),
      task=toy_task.Words(),
      devices=devices,
      monitor="wer",
    )
    index = np.arange(19)
    assert result.metrics["wer"] == 5 / 19
    assert result.metrics["rate"] == (index % 3).sum() / (index + 1).sum()
    assert set(result.metrics) == {"loss", "rate", "wer"}
    assert result.best_value == 5 / 19


def test_rows_are_the_examples_in_their_order(tmp_path):
  task = toy_task.Words()
  variables = task.init(jax.random.key(0), toy_task.batch_at(0))
  batches = list(toy_task.eval_batches())[::-1]
  for devices in (1, 8):
    mesh = mesh_lib.make_mesh(jax.devices()[:devices])
    evaluator = train.Evaluator(task, mesh)
    rows = evaluator.rows(variables, batches)
    assert [int(row["index"]) for row in rows] == list(range(19))
    assert all(row["said"].tolist() == [row["index"]] * 3 for row in rows)
    values = evaluator.evaluate(variables, batches)
    assert values["loss"] == np.mean([row["loss"] for row in rows], dtype=float)
    assert set(values) == {"loss", "rate", "wer"}


# Laws.


def test_best_is_exported_and_its_checkpoint_kept(tmp_path):
  # The loss of the toy falls: of all evaluations the first is the highest.
  result = fit(
    tmp_path,
    num_steps=24,
    eval_every=2,
    checkpoint_every=2,
    keep_checkpoints=1,
    monitor_mode="max",
  )
  values = {x["step"]: x["loss"] for x in log_of(tmp_path, "eval")}
  assert result.best_step == max(values, key=values.get) == 2
  assert checkpoints_of(tmp_path) == [2, 24]


def test_plateau_scales_the_updates_and_survives_a_restart(tmp_path):
  # "max" of a loss that falls: nothing after the first is an improvement.
  options = {
    "plateau": train.Plateau(min_scale=0.25),
    "schedule": lambda step: 1e-3,
    "eval_every": 1,
    "log_every": 1,
    "monitor_mode": "max",
  }
  whole = fit(tmp_path / "whole", num_steps=13, **options)
  rates = [
    line["learning_rate"] for line in log_of(tmp_path / "whole", "train")
  ]
  expected = [1e-3] * 4 + [5e-4] * 3 + [2.5e-4] * 6
  np.testing.assert_allclose(rates, expected, rtol=1e-6)
  for steps in (3, 8, 13):
    parts = fit(tmp_path / "parts", num_steps=steps, **options)
  toy_task.assert_same(whole.state, parts.state)
  # Half the scale is half the update.
  plain = options | {"plateau": None}
  moved = []
  for name, chosen in (("scaled", options), ("plain", plain)):
    before, after = (
      fit(tmp_path / name, num_steps=steps, **chosen).variables["params"]["out"]
      for steps in (4, 5)
    )
    moved.append(after["kernel"] - before["kernel"])
  np.testing.assert_allclose(moved[0], moved[1] / 2, atol=1e-6)


def test_stops_early(tmp_path):
  options = {"eval_every": 2, "monitor_mode": "max", "early_stop_patience": 3}
  result = fit(tmp_path, num_steps=50, **options)
  assert result.reason == "early_stop"
  assert int(result.state.step) == 8
  # Started again, it has nothing more to do.
  again = fit(tmp_path, num_steps=50, **options)
  assert again.reason == "early_stop"
  toy_task.assert_same(result.state, again.state)


def test_demos_are_as_many_as_asked_for(tmp_path, monkeypatch):
  steps = []
  monkeypatch.setattr(
    writer.Writer, "signals", lambda self, step, *_, **__: steps.append(step)
  )
  fit(tmp_path, num_steps=20, eval_every=2, demo_every=3, tensorboard=True)
  assert steps == [2, 6, 12, 18, 20]


# Edge.


def test_value_that_is_not_finite_is_never_the_best(tmp_path):
  class Odd(toy_task.ToyTask):
    """Has no finite value before the bias has moved far enough."""

    def evaluate(self, variables, batch, *, keys, frozen=None):
      loss = super().evaluate(variables, batch, keys=keys)["loss"]
      moved = jnp.abs(variables["params"]["out"]["bias"]).max()
      return {"loss": jnp.where(moved > 2.5e-3, loss, jnp.nan)}

  result = fit(tmp_path, task=Odd(), eval_every=1, num_steps=3)
  values = [line["loss"] for line in log_of(tmp_path, "eval")]
  assert values[:2] == [None, None] and values[2] is not None
  assert result.best_step == 3


# Failures.


def test_unknown_monitor(tmp_path):
  with pytest.raises(train.TrainingError, match=r"monitor 'cer'.*error, loss"):
    fit(tmp_path, monitor="cer")
  # Found before the first step, and the name can be put right.
  assert not list(tmp_path.iterdir())
  assert fit(tmp_path, monitor="error").reason == "finished"
  # What a summary gives is known when it is made.
  with pytest.raises(train.TrainingError, match=r"monitor 'cer'.*rate, wer"):
    fit(tmp_path / "words", task=toy_task.Words(), monitor="cer", num_steps=1)


def test_empty_evaluation_set(tmp_path):
  with pytest.raises(train.TrainingError, match="no examples"):
    fit(tmp_path, make_eval_batches=lambda: [])
