"""Runs of the toy task in this process, and what they log."""

import json

import jax
import optax
import toy_task

from jaxsep import train
from jaxsep.train import mesh as mesh_lib

CONFIG = {
  "num_steps": 10,
  "log_every": 4,
  "eval_every": 5,
  "checkpoint_every": 5,
  "tensorboard": False,
}


def adam(rate=1e-3):
  return optax.chain(optax.clip_by_global_norm(5.0), optax.adam(rate))


def fit(workdir, *, task=None, devices=1, **options):
  """`train.fit` of the toy; options of its config are given by name."""
  names = {field for field in train.TrainConfig.__dataclass_fields__}
  config = CONFIG | {k: v for k, v in options.items() if k in names}
  defaults = {
    "optimizer": adam(),
    "make_train_batches": toy_task.train_batches,
    "make_eval_batches": toy_task.eval_batches,
  }
  return train.fit(
    task or toy_task.ToyTask(),
    workdir=workdir,
    config=train.TrainConfig(**config),
    mesh=mesh_lib.make_mesh(jax.devices()[:devices]),
    **defaults | {k: v for k, v in options.items() if k not in names},
  )


def log_of(workdir, split=None):
  """Lines of the log without the speeds, which no two runs share."""
  lines = (workdir / "log.jsonl").read_text().splitlines()
  lines = [json.loads(line) for line in lines]
  return [
    {k: v for k, v in line.items() if not k.endswith("per_second")}
    for line in lines
    if split in (None, line["split"])
  ]


def checkpoints_of(workdir):
  names = [path.name for path in (workdir / "checkpoints").iterdir()]
  return sorted(int(name) for name in names if name.isdigit())
