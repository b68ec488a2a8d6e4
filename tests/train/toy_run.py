"""A toy run in a process of its own: what the reliability tests start.

Arguments: workdir, number of steps, then any of `die=PLACE:N` (kill this
process the Nth time it gets to a place), `slow=SECONDS` per step and
`process=ID:COUNT:PORT`.
"""

import json
import os
import pathlib
import signal
import sys
import time

# One CPU device, or as many as the caller sets.
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np
import toy_task

from jaxsep import train
from jaxsep.train import checkpoint, manifest


def kill_at(place, count):
  """Arranges that the process dies, as if by `kill -9`, somewhere."""
  module, name = {
    "sealing": (manifest, "seal"),
    "renaming": (checkpoint.os, "rename"),
    "pruning": (checkpoint.shutil, "rmtree"),
  }[place]
  real = getattr(module, name)
  calls = []

  def deadly(*args, **options):
    if pathlib.Path(args[0]).exists():
      calls.append(args)
    if len(calls) == count:
      os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **options)

  setattr(module, name, deadly)


def main(workdir, num_steps, *options):
  options = dict(option.split("=", 1) for option in options)
  rows = slice(None)
  if "process" in options:
    number, count, port = map(int, options["process"].split(":"))
    jax.distributed.initialize(f"localhost:{port}", count, number)
    rows = slice(number * 8 // count, (number + 1) * 8 // count)
  if "die" in options:
    place, count = options["die"].split(":")
    kill_at(place, int(count))

  def batches(start_step):
    step = start_step
    while True:
      time.sleep(float(options.get("slow", 0)))
      yield toy_task.batch_at(step, rows=rows)
      step += 1

  def evaluation():
    for batch in toy_task.eval_batches():
      size = len(batch["index"])
      batch = {
        name: np.concatenate([x, x[:1].repeat(8 - size, 0)])[rows]
        for name, x in batch.items()
      }
      yield {**batch, "mask": (np.arange(8) < size)[rows]}

  result = train.fit(
    toy_task.ToyTask(),
    workdir=workdir,
    config=train.TrainConfig(
      num_steps=int(num_steps),
      log_every=1,
      eval_every=5,
      checkpoint_every=int(options.get("checkpoint", 2)),
      ema_decay=0.9,
      tensorboard=False,
      optimizer=train.OptimizerConfig(schedule="plateau", plateau_patience=1),
    ),
    make_train_batches=batches,
    make_eval_batches=evaluation,
  )
  if jax.process_index() == 0:
    flat = toy_task.arrays(result.state)
    np.savez(os.path.join(workdir, "state.npz"), **flat)
  out = {"reason": result.reason, "signal": result.signal}
  print(json.dumps(out), flush=True)
  return 0 if result.signal is None else 128 + result.signal


if __name__ == "__main__":
  sys.exit(main(*sys.argv[1:]))
