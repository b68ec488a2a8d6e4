"""Eight forced host devices against one: the same training, step by step.

  python -m experiments.benchmarks.devices

Trains a small ConvTasNet twice on the same global batches, on one CPU device
and spread over eight, in one process, and prints the loss of both at every
step with their relative difference. The target is 1e-5 at the first step and
1e-3 over 20 steps. What differs is the order of sums alone.
"""

import os

# Before jax is imported.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
  os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import itertools
import json
import pathlib
import sys
import tempfile

import jax
import numpy as np
import optax

from experiments.benchmarks.measuring import verdict
from experiments.command import Parser
from jaxsep import models, simulate, tasks, train
from jaxsep.train.mesh import make_mesh

RATE_HZ = 8000

#: A ConvTasNet of a size that eight devices of a laptop get through.
MODEL = models.ConvTasNet(
  num_filters=64,
  masker=models.TemporalConvNet(
    bottleneck_channels=32,
    hidden_channels=64,
    skip_channels=32,
    num_blocks=4,
    num_repeats=2,
  ),
)


def batches(start_step: int):
  """Two modulated tones with noise, drawn from the step alone."""
  size, length = 8, RATE_HZ // 2
  time_s = np.arange(length) / RATE_HZ
  for step in itertools.count(start_step):
    rng = np.random.default_rng(step)
    pitch = rng.uniform(100, 1000, (size, 2, 1))
    rate = rng.uniform(1, 8, (size, 2, 1))
    tone = np.sin(2 * np.pi * (pitch * time_s + np.sin(rate * time_s)))
    sources = 0.1 * tone + 0.01 * rng.normal(size=(size, 2, length))
    yield {
      "index": np.arange(step * size, (step + 1) * size, dtype=np.uint32),
      "sources": sources.astype(np.float32),
      "length": np.full((size, 2), length, np.int32),
    }


def losses(num_devices: int) -> np.ndarray:
  """Losses of 20 steps on some number of devices."""
  task = tasks.SeparationTask(
    model=MODEL,
    sample_rate_hz=RATE_HZ,
    simulation=simulate.Simulation(RATE_HZ),
  )
  with tempfile.TemporaryDirectory() as workdir:
    train.fit(
      task,
      workdir=workdir,
      optimizer=optax.chain(optax.clip_by_global_norm(5.0), optax.adam(1e-3)),
      config=train.TrainConfig(
        num_steps=20, log_every=1, tensorboard=False, progress=True
      ),
      make_train_batches=batches,
      mesh=make_mesh(jax.devices()[:num_devices]),
    )
    lines = (pathlib.Path(workdir) / "log.jsonl").read_text().splitlines()
  values = [json.loads(line) for line in lines]
  return np.array([v["loss"] for v in values if v["split"] == "train"])


def main():
  """Prints the comparison; exits with 1 if a target is missed."""
  Parser(__doc__).parse()
  one, eight = losses(1), losses(8)
  difference = np.abs(one - eight) / np.maximum(np.abs(one), 1e-12)
  print("step   1 device    8 devices  relative difference")
  for step, row in enumerate(zip(one, eight, difference, strict=True), 1):
    print("{:4d} {:10.5f} {:10.5f}  {:.1e}".format(step, *row))
  first, worst = difference[0], difference.max()
  print(f"first step: {first:.1e}  {verdict(first <= 1e-5, '1e-5')}")
  print(f"{len(one)} steps: {worst:.1e}  {verdict(worst <= 1e-3, '1e-3')}")
  sys.exit(0 if first <= 1e-5 and worst <= 1e-3 else 1)


if __name__ == "__main__":
  main()
