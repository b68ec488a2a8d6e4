"""Evaluations of a run, and what follows from them."""

import jax
import numpy as np
import pytest
import toy_task
from toy_fit import fit, log_of

from jaxsep import train
from jaxsep.train import writer

# Reference.


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


def test_unknown_monitor(tmp_path):
  with pytest.raises(train.TrainingError, match=r"cannot monitor 'wer'.*error"):
    fit(tmp_path, monitor="wer")
  # Found before the first step, and the name can be put right.
  assert not list(tmp_path.iterdir())
  assert fit(tmp_path, monitor="error").reason == "finished"


def test_empty_evaluation_set(tmp_path):
  with pytest.raises(train.TrainingError, match="no examples"):
    fit(tmp_path, make_eval_batches=lambda: [])
