"""Runs that are killed, stopped, or spread over processes.

The model has batch statistics and dropout; what is compared is bit for bit,
but for the order of sums among processes.
"""

import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from toy_fit import checkpoints_of, log_of

HERE = pathlib.Path(__file__).parent
STEPS = 10


@pytest.fixture(scope="module")
def start(compilation_cache):
  """Starts toy runs, which find what others compiled."""

  def start(workdir, *options):
    environment = {
      **os.environ,
      "PYTHONPATH": f"{HERE}:{HERE.parents[1]}",
      "JAX_COMPILATION_CACHE_DIR": compilation_cache,
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
      "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    # One device a process.
    environment.pop("XLA_FLAGS", None)
    return subprocess.Popen(
      [sys.executable, HERE / "toy_run.py", workdir, str(STEPS), *options],
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )

  return start


@pytest.fixture(scope="module")
def start_pair(start):
  """Starts two processes that train together."""

  def start_pair(workdir, *options):
    with socket.socket() as probe:
      probe.bind(("localhost", 0))
      port = probe.getsockname()[1]
    return [start(workdir, f"process={i}:2:{port}", *options) for i in (0, 1)]

  return start_pair


@pytest.fixture(scope="module")
def unbroken(start, tmp_path_factory):
  """The folder of a run that nothing happened to, and its result."""
  workdir = tmp_path_factory.mktemp("runs") / "unbroken"
  result = finish(start(workdir))
  assert result["reason"] == "finished"
  return workdir, result


def finish(process, *, code=0):
  """What a process printed at its end."""
  out, err = process.communicate(timeout=240)
  assert process.returncode == code, err[-3000:]
  return json.loads(out.splitlines()[-1]) if code != -signal.SIGKILL else err


def state_of(workdir):
  with np.load(workdir / "state.npz") as file:
    return dict(file)


def assert_same_run(workdir, unbroken):
  one, two = state_of(workdir), state_of(unbroken[0])
  assert one.keys() == two.keys()
  for name in one:
    np.testing.assert_array_equal(one[name], two[name], err_msg=name)
  assert log_of(workdir) == log_of(unbroken[0])


def num_lines(log):
  return len(log.read_text().splitlines()) if log.exists() else 0


def wait_for_lines(workdir, count, *processes, seconds=120):
  """Returns when the log has so many lines and the processes still run."""
  deadline = time.monotonic() + seconds
  while num_lines(workdir / "log.jsonl") < count:
    for process in processes:
      assert process.poll() is None, "ended too early to be stopped"
    assert time.monotonic() < deadline, f"no {count} lines in {seconds} s"
    time.sleep(0.01)


def test_killed_while_writing_and_at_random_moments(tmp_path, start, unbroken):
  workdir = tmp_path / "run"
  finish(start(workdir, "die=4"), code=-signal.SIGKILL)
  # The one before is complete, the one under way is not there.
  assert checkpoints_of(workdir) == [2]
  # Checkpoints are written every second step, so about half of the moments
  # are in the middle of one.
  rng = random.Random(3)
  for _ in range(2):
    process = start(workdir, "slow=0.2")
    wait_for_lines(workdir, num_lines(workdir / "log.jsonl") + 1, process)
    time.sleep(rng.uniform(0, 0.4))
    process.kill()
    finish(process, code=-signal.SIGKILL)
  finish(start(workdir))
  assert_same_run(workdir, unbroken)
  # What the kills left is gone; the best checkpoint is among those kept.
  names = {path.name for path in (workdir / "checkpoints").iterdir()}
  assert names == {
    path.name for path in (unbroken[0] / "checkpoints").iterdir()
  }


def test_two_processes_train_as_one(tmp_path, start_pair, unbroken):
  workdir = tmp_path / "run"
  pair = start_pair(workdir, "slow=0.2")
  wait_for_lines(workdir, 3, *pair)
  # A signal to one ends both; then both go on.
  pair[1].send_signal(signal.SIGTERM)
  outs = [process.communicate(timeout=240)[0] for process in pair]
  results = [json.loads(out.splitlines()[-1]) for out in outs]
  assert [result["reason"] for result in results] == ["signal", "signal"]
  results = [finish(process) for process in start_pair(workdir)]
  # Weighted means and summaries are the same in both, and as in one process.
  assert results[0]["metrics"] == results[1]["metrics"]
  for name in ("rate", "wer"):
    assert results[0]["metrics"][name] == unbroken[1]["metrics"][name]
  losses = [
    [line["loss"] for line in log_of(folder)]
    for folder in (workdir, unbroken[0])
  ]
  np.testing.assert_allclose(losses[0][0], losses[1][0], rtol=1e-5)
  np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
  one, two = state_of(workdir), state_of(unbroken[0])
  for name in one:
    np.testing.assert_allclose(one[name], two[name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
  ("option", "message"),
  [
    ("damaged", "no usable checkpoint"),
    ("full=3", "cannot write"),
    ("broken=3", "a broken file"),
  ],
)
def test_failure_of_one_process_ends_both(
  tmp_path, start_pair, unbroken, option, message
):
  workdir, options = tmp_path / "run", [option]
  if option == "damaged":
    shutil.copytree(unbroken[0], workdir)
    for path in (workdir / "checkpoints").glob("*/beside/metadata"):
      path.write_text("{")
    options = []
  pair = start_pair(workdir, *options)
  errors = [finish(process, code=1)["error"] for process in pair]
  assert errors[0] == errors[1] and message in errors[0]
  if option == "broken=3":
    # What was done with the batch in its place is not kept.
    assert checkpoints_of(workdir) == [2]
