"""What stops a run before its end, and what does not.

Updates that are not finite, signals, a full disk.
"""

import errno
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_task
from toy_fit import checkpoints_of, fit, log_of

import jaxsep
from jaxsep import train
from jaxsep.train import writer


def poisoned(*steps):
  def batches(start_step):
    for i, batch in enumerate(toy_task.train_batches(start_step), start_step):
      if i + 1 in steps:
        batch["x"][0, 0] = np.nan
      yield batch

  return batches


@pytest.fixture(scope="module")
def without_step_4(tmp_path_factory):
  return fit(
    tmp_path_factory.mktemp("without"),
    make_train_batches=lambda start: (
      toy_task.batch_at(i) for i in range(start, 99) if i + 1 != 4
    ),
    num_steps=5,
  )


def test_update_that_is_not_finite_is_skipped(tmp_path, capfd, without_step_4):
  options = {"log_every": 1, "ema_decay": 0.9, "schedule": lambda step: step}
  result = fit(tmp_path, make_train_batches=poisoned(4, 7), **options)
  assert int(result.state.skipped) == 2
  assert int(result.state.skipped_in_row) == 0
  assert all(
    np.isfinite(x).all() for x in toy_task.arrays(result.state).values()
  )
  said = capfd.readouterr().err
  assert "step 4: loss nan" in said and "step 7: loss nan" in said
  lines = log_of(tmp_path, "skipped")
  assert [(x["step"], x["loss"]) for x in lines] == [(4, None), (7, None)]
  # The step is as if it had not been, also to the learning rate.
  assert log_of(tmp_path, "train")[-1]["learning_rate"] == 7
  with_it = fit(tmp_path / "with", make_train_batches=poisoned(4), num_steps=6)
  toy_task.assert_same(without_step_4.variables, with_it.variables)


def test_gradient_that_is_not_finite_is_skipped(
  tmp_path, capfd, without_step_4
):
  class Rooted(toy_task.ToyTask):
    """Its loss is finite at every step, its gradient not at step 4."""

    def loss(self, variables, batch, **options):
      loss, rest = super().loss(variables, batch, **options)
      w = variables["params"]["out"]["kernel"][0, 0]
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
  jax.tree.map(
    lambda *both: np.testing.assert_allclose(*both, rtol=1e-6, atol=1e-8),
    without_step_4.variables,
    result.variables,
  )


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
  assert checkpoints_of(tmp_path) == [5]


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
  assert checkpoints_of(tmp_path / "a")[-1] == stopped
  last = jaxsep.load(tmp_path / "a" / "last", model_class=toy_task.ToyModel)
  toy_task.assert_same(last.variables, first.variables)
  second = fit(tmp_path / "a", **options)
  whole = fit(tmp_path / "b", **options)
  toy_task.assert_same(second.state, whole.state)

  assert log_of(tmp_path / "a") == log_of(tmp_path / "b")


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
