r"""Eight forced host devices against one: the same training, step by step.

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

import json
import pathlib
import sys
import tempfile
from typing import Any

import jax
import numpy as np
from absl import app, flags

from jaxsep import models, simulate, tasks, train
from jaxsep.train import mesh as mesh_lib

RATE_HZ = 8000

#: A ConvTasNet of a size that eight devices of a laptop get through.
MODEL = models.ConvTasNet(
  num_filters=64,
  bottleneck_channels=32,
  hidden_channels=64,
  skip_channels=32,
  num_blocks=4,
  num_repeats=2,
)


def batches(start_step: int, *, size: int, length: int):
  """Two modulated tones with noise, drawn from the step alone."""
  step = start_step
  time_s = np.arange(length) / RATE_HZ
  while True:
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
    step += 1


def losses(
  num_devices: int,
  *,
  num_steps: int,
  size: int,
  length: int,
  model: models.ConvTasNet = MODEL,
) -> list[float]:
  """Loss of every step on so many devices."""
  task = tasks.SeparationTask(
    model=model, sample_rate_hz=RATE_HZ, simulate=simulate.make_simulator()
  )
  with tempfile.TemporaryDirectory() as workdir:
    train.fit(
      task,
      workdir=workdir,
      config=train.TrainConfig(
        num_steps=num_steps, log_every=1, tensorboard=False, progress=True
      ),
      make_train_batches=lambda step: batches(step, size=size, length=length),
      mesh=mesh_lib.make_mesh(jax.devices()[:num_devices]),
    )
    lines = (pathlib.Path(workdir) / "log.jsonl").read_text().splitlines()
  values = [json.loads(line) for line in lines]
  return [v["loss"] for v in values if v["split"] == "train"]


def compare(**options: Any) -> list[tuple[int, float, float, float]]:
  """Compares the losses, see there for the options.

  Returns:
    Of every step its number, the loss on one device, the loss on eight and
    the relative difference.
  """
  one, eight = losses(1, **options), losses(8, **options)
  return [
    (step, a, b, abs(a - b) / max(abs(a), 1e-12))
    for step, (a, b) in enumerate(zip(one, eight, strict=True), 1)
  ]


def main(argv):
  """Prints the comparison; exits with 1 if a target is missed."""
  values = flags.FLAGS
  if len(argv) > 1 or values.batch_size % 8:
    raise app.UsageError("no arguments, and a batch_size that 8 divides")
  rows = compare(
    num_steps=values.num_steps,
    size=values.batch_size,
    length=round(values.crop_s * RATE_HZ),
  )
  print("step   1 device    8 devices  relative difference")
  for step, one, eight, difference in rows:
    print(f"{step:4d} {one:10.5f} {eight:10.5f}  {difference:.1e}")
  first, worst = rows[0][-1], max(row[-1] for row in rows)
  print(f"first step: {first:.1e} (target 1e-5)")
  print(f"{len(rows)} steps: {worst:.1e} (target 1e-3)")
  sys.exit(0 if first <= 1e-5 and worst <= 1e-3 else 1)


if __name__ == "__main__":
  flags.DEFINE_integer("num_steps", 20, "Steps to compare.")
  flags.DEFINE_integer("batch_size", 8, "A multiple of 8.")
  flags.DEFINE_float("crop_s", 0.5, "Seconds of a mixture.")
  app.run(main)
