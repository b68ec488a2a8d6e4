"""A toy run in a process of its own: what the reliability tests start.

Its model has batch statistics and dropout, its evaluation a weighted mean and
a summary. Arguments: workdir, number of steps, then any of `die=STEP` (kill
this process while it writes the checkpoint of a step), `full=STEP` (no file of
process 0 can be large from a step on), `broken=STEP` (the last process cannot
read the batch of a step), `slow=SECONDS` per step,
`checkpoint=STEPS` and `process=ID:COUNT:PORT`.
"""

import json
import os
import pathlib
import resource
import signal
import sys
import threading
import time

# One CPU device, or as many as the caller sets.
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np
import optax
import toy_task

from jaxsep import train


def die_while_writing(folder, step):
  """Kills this process once a checkpoint has begun and is not complete."""

  def watch():
    while True:
      for path in folder.glob(f"{step:08d}*"):
        if not (path / "commit_success.txt").exists():
          os.kill(os.getpid(), signal.SIGKILL)
      time.sleep(1e-4)

  threading.Thread(target=watch, daemon=True).start()


def main(workdir, num_steps, *options):
  options = dict(option.split("=", 1) for option in options)
  rows = slice(None)
  if "process" in options:
    number, count, port = map(int, options["process"].split(":"))
    jax.distributed.initialize(f"localhost:{port}", count, number)
    rows = slice(number * 8 // count, (number + 1) * 8 // count)
  if "die" in options:
    checkpoints = pathlib.Path(workdir) / "checkpoints"
    die_while_writing(checkpoints, int(options["die"]))

  def batches(start_step):
    step = start_step
    while True:
      time.sleep(float(options.get("slow", 0)))
      if str(step) == options.get("full") and jax.process_index() == 0:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
      if str(step) == options.get("broken") and rows.start:
        raise OSError("a broken file")
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

  model = toy_task.ToyModel(norm=True, dropout=0.3)
  try:
    result = train.fit(
      toy_task.Words(model=model),
      workdir=workdir,
      config=train.TrainConfig(
        num_steps=int(num_steps),
        log_every=1,
        eval_every=5,
        checkpoint_every=int(options.get("checkpoint", 2)),
        ema_decay=0.9,
        tensorboard=False,
      ),
      optimizer=optax.adam(1e-3),
      plateau=train.Plateau(patience=1),
      make_train_batches=batches,
      make_eval_batches=evaluation,
    )
  except (train.TrainingError, OSError) as error:
    print(json.dumps({"error": str(error)}), flush=True)
    return 1
  if jax.process_index() == 0:
    flat = toy_task.arrays(result.state)
    np.savez(os.path.join(workdir, "state.npz"), **flat)
  out = {"reason": result.reason, "signal": result.signal}
  print(json.dumps({**out, "metrics": result.metrics}), flush=True)
  return 0 if result.signal is None else 128 + result.signal


if __name__ == "__main__":
  sys.exit(main(*sys.argv[1:]))
