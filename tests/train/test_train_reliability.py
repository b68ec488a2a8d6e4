"""Runs that are killed, cut in parts, or spread over processes."""

import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

HERE = pathlib.Path(__file__).parent
STEPS = 10


def start(workdir, *options, num_steps=STEPS, cache=None):
  environment = {**os.environ, "PYTHONPATH": f"{HERE}:{HERE.parents[1]}"}
  # One device a process.
  environment.pop("XLA_FLAGS", None)
  if cache:
    environment |= {
      "JAX_COMPILATION_CACHE_DIR": str(cache),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
      "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
  return subprocess.Popen(
    [sys.executable, HERE / "toy_run.py", workdir, str(num_steps), *options],
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def finish(process, *, code=0):
  out, err = process.communicate(timeout=120)
  assert process.returncode == code, err[-3000:]
  return json.loads(out.splitlines()[-1]) if code != -signal.SIGKILL else err


def state_of(workdir):
  with np.load(workdir / "state.npz") as file:
    return dict(file)


def log_of(workdir):
  lines = (workdir / "log.jsonl").read_text().splitlines()
  return [
    {k: v for k, v in json.loads(line).items() if not k.endswith("per_second")}
    for line in lines
  ]


def assert_same_run(one, two):
  first, second = state_of(one), state_of(two)
  assert first.keys() == second.keys()
  for name in first:
    np.testing.assert_array_equal(first[name], second[name], err_msg=name)
  assert log_of(one) == log_of(two)


def num_lines(log):
  return len(log.read_text().splitlines()) if log.exists() else 0


def wait_for_lines(log, count, *processes, seconds=60):
  """Returns when the log has so many lines and the processes still run."""
  deadline = time.monotonic() + seconds
  while num_lines(log) < count:
    for process in processes:
      assert process.poll() is None, "ended too early to be stopped"
    assert time.monotonic() < deadline, f"no {count} lines in {seconds} s"
    time.sleep(0.01)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
  """The folder of a run that nothing happened to."""
  workdir = tmp_path_factory.mktemp("runs") / "unbroken"
  result = finish(start(workdir))
  assert result["reason"] == "finished"
  return workdir


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
  """Where processes that start again find what was compiled."""
  return tmp_path_factory.mktemp("compiled")


def test_five_steps_and_a_new_process_equal_ten(tmp_path, unbroken):
  finish(start(tmp_path / "parts", num_steps=5))
  finish(start(tmp_path / "parts"))
  assert_same_run(tmp_path / "parts", unbroken)


@pytest.mark.parametrize(
  "place",
  [
    # The first, with arrays but no manifest; a later one, complete but
    # without its name; an old one on its way out.
    "sealing:1",
    "renaming:4",
    "pruning:1",
  ],
)
def test_killed_while_writing_a_checkpoint(tmp_path, unbroken, cache, place):
  process = start(tmp_path / "run", f"die={place}", cache=cache)
  finish(process, code=-signal.SIGKILL)
  debris = list((tmp_path / "run" / "checkpoints").glob(".*"))
  finish(start(tmp_path / "run", cache=cache))
  assert_same_run(tmp_path / "run", unbroken)
  assert debris, "the process died too early or too late to tell anything"
  assert not list((tmp_path / "run" / "checkpoints").glob(".*"))


def test_killed_at_random_moments(tmp_path, unbroken, cache):
  # Checkpoints are written every second step, so about half of the moments
  # are in the middle of one.
  rng = random.Random(3)
  for _ in range(3):
    process = start(tmp_path / "run", "slow=0.2", cache=cache)
    log = tmp_path / "run" / "log.jsonl"
    wait_for_lines(log, num_lines(log) + 1, process)
    time.sleep(rng.uniform(0, 0.5))
    process.kill()
    finish(process, code=-signal.SIGKILL)
  finish(start(tmp_path / "run", cache=cache))
  assert_same_run(tmp_path / "run", unbroken)


def test_sigterm_writes_a_checkpoint_and_exits(tmp_path, unbroken, cache):
  process = start(tmp_path / "run", "slow=0.2", "checkpoint=100", cache=cache)
  log = tmp_path / "run" / "log.jsonl"
  wait_for_lines(log, 3, process)
  process.send_signal(signal.SIGTERM)
  result = finish(process, code=143)
  assert result["reason"] == "signal" and result["signal"] == signal.SIGTERM
  steps = [
    int(p.name) for p in (tmp_path / "run" / "checkpoints").glob("[0-9]*")
  ]
  assert steps and 0 < max(steps) < STEPS
  finish(start(tmp_path / "run", cache=cache))
  assert_same_run(tmp_path / "run", unbroken)


def free_port():
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    return probe.getsockname()[1]


def test_two_processes_train_as_one(tmp_path, unbroken):
  port = free_port()
  workdir = tmp_path / "run"
  pair = [start(workdir, f"process={i}:2:{port}") for i in range(2)]
  for process in pair:
    finish(process)
  losses = [
    [line["loss"] for line in log_of(folder)] for folder in (workdir, unbroken)
  ]
  np.testing.assert_allclose(losses[0][0], losses[1][0], rtol=1e-5)
  np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
  one, two = state_of(workdir), state_of(unbroken)
  for name in one:
    np.testing.assert_allclose(one[name], two[name], rtol=1e-3, atol=1e-5)


def test_signal_to_one_of_two_processes_ends_both(tmp_path, unbroken):
  port = free_port()
  workdir = tmp_path / "run"
  pair = [start(workdir, f"process={i}:2:{port}", "slow=0.2") for i in range(2)]
  log = workdir / "log.jsonl"
  wait_for_lines(log, 3, *pair)
  pair[1].send_signal(signal.SIGTERM)
  outs = [process.communicate(timeout=120) for process in pair]
  results = [json.loads(out.splitlines()[-1]) for out, _ in outs]
  assert [result["reason"] for result in results] == ["signal", "signal"]
  # One process goes on where two have stopped.
  finish(start(workdir))
  np.testing.assert_allclose(
    state_of(workdir)[".params['w']"],
    state_of(unbroken)[".params['w']"],
    rtol=1e-3,
    atol=1e-5,
  )
