"""The train command stopped, killed, and spread over processes."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

import jaxsep

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = "experiments/harmonic_probes/configs/conv_tasnet_small.py"
STEPS = 6

# So small that it trains in seconds; an evaluation, whose compilation takes
# long beside a step, is where the runs below are stopped.
TINY = {
  "model.num_filters": 16,
  "model.bottleneck_channels": 8,
  "model.hidden_channels": 16,
  "model.skip_channels": 8,
  "model.num_blocks": 2,
  "model.num_repeats": 1,
  "data.num_voices": 4,
  "data.num_valid_voices": 2,
  "data.num_valid_examples": 3,
  "data.crop_s": 0.5,
  "data.valid_crop_s": 0.5,
  "data.batch_size": 2,
  "train.eval_every": 3,
  "train.log_every": 1,
  "train.checkpoint_every": 2,
  "train.tensorboard": False,
}


class Command:
  """The train command in a process of its own; it says what into a file."""

  def __init__(self, workdir, said, *, num_steps=STEPS, cache=None, **options):
    config = {**TINY, "train.num_steps": num_steps}
    flags = {"config": CONFIG, "workdir": workdir, **options}
    flags |= {f"config.{name}": value for name, value in config.items()}
    # One device a process, and a compiler that takes less time.
    environment = {
      **os.environ,
      "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }
    if cache is not None:
      environment["JAX_COMPILATION_CACHE_DIR"] = str(cache)
      environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    module = "experiments.harmonic_probes.train"
    self.said = said
    with open(said, "w") as file:
      self.process = subprocess.Popen(
        [
          *(sys.executable, "-m", module),
          *(f"--{name}={value}" for name, value in flags.items()),
        ],
        cwd=ROOT,
        env=environment,
        stdout=file,
        stderr=file,
      )

  def text(self):
    return self.said.read_text()

  def wait_for(self, condition, *, seconds=180):
    deadline = time.monotonic() + seconds
    while not condition():
      assert self.process.poll() is None, self.text()[-3000:]
      assert time.monotonic() < deadline, self.text()[-3000:]
      time.sleep(0.01)

  def finish(self, *, code=0):
    self.process.wait(timeout=180)
    assert self.process.returncode == code, self.text()[-3000:]


@pytest.fixture
def start():
  """Starts commands; none of them outlives the test."""
  commands = []

  def start_one(*args, **options):
    commands.append(Command(*args, **options))
    return commands[-1]

  yield start_one
  for command in commands:
    if command.process.poll() is None:
      command.process.kill()
    command.process.wait()


def log_of(workdir):
  lines = (workdir / "log.jsonl").read_text().splitlines()
  return [
    {k: v for k, v in json.loads(line).items() if not k.endswith("per_second")}
    for line in lines
  ]


def free_port():
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    return probe.getsockname()[1]


def test_stopped_killed_and_spread_runs_equal_one(tmp_path, start):
  whole, parts = tmp_path / "whole", tmp_path / "parts"
  cache = tmp_path / "compiled"
  unbroken = start(whole, tmp_path / "whole.txt", cache=cache)
  killed = start(parts, tmp_path / "killed.txt")

  # Killed past step 3, with a checkpoint of step 2.
  killed.wait_for(lambda: f"step 3/{STEPS}:" in killed.text())
  killed.wait_for((parts / "checkpoints" / "00000002").exists)
  killed.process.kill()
  killed.finish(code=-signal.SIGKILL)
  assert f"step {STEPS}/{STEPS}:" not in killed.text()

  stopped = start(parts, tmp_path / "stopped.txt")
  stopped.wait_for(lambda: f"step 3/{STEPS}:" in stopped.text())
  stopped.process.send_signal(signal.SIGTERM)
  stopped.finish(code=128 + signal.SIGTERM)
  assert "going on from the checkpoint of step 2" in stopped.text()
  # What it has learned so far can be used.
  step = jaxsep.load(parts / "last").metadata["step"]
  assert 3 <= step < STEPS

  unbroken.finish()
  resumed = start(parts, tmp_path / "resumed.txt", cache=cache)
  resumed.finish()
  assert f"going on from the checkpoint of step {step}" in resumed.text()

  logs = log_of(whole), log_of(parts)
  rows = [(row["step"], row["split"]) for row in logs[0]]
  assert [step for step, split in rows if split == "train"] == [*range(1, 7)]
  assert [step for step, split in rows if split == "eval"] == [3, 6]
  assert logs[0] == logs[1]
  name = "params.safetensors"
  ends = [(folder / "last" / name).read_bytes() for folder in (whole, parts)]
  assert ends[0] == ends[1]

  # Two processes with a row each of the same batches of two.
  pair = {"multihost": True, "num_processes": 2, "num_steps": 3}
  pair["coordinator_address"] = f"localhost:{free_port()}"
  spread = tmp_path / "spread"
  commands = [
    start(spread, tmp_path / f"spread{i}.txt", process_id=i, **pair)
    for i in range(2)
  ]
  for command in commands:
    command.finish()
  both = log_of(spread)
  alone = [row for row in logs[0] if row["step"] <= 3]
  keys = [[(x["step"], x["split"]) for x in rows] for rows in (both, alone)]
  assert keys[0] == keys[1]
  losses = [[row["loss"] for row in rows] for rows in (both, alone)]
  np.testing.assert_allclose(losses[0][0], losses[1][0], rtol=1e-5)
  np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
  # Process 0 alone speaks and writes.
  assert "step 3/3:" in commands[0].text()
  assert "step 3/3:" not in commands[1].text()
