"""Runs of the toy task in this process, and what they log."""

import json

import jax
import toy_task

from jaxsep import train
from jaxsep.train import mesh as mesh_lib


def config(**options):
  options = {
    "num_steps": 10,
    "log_every": 4,
    "eval_every": 5,
    "checkpoint_every": 5,
    "tensorboard": False,
    **options,
  }
  return train.TrainConfig(**options)


def fit(workdir, *, task=None, make_train_batches=None, **options):
  fit_options = {
    name: options.pop(name)
    for name in ("make_eval_batches", "run_config", "may_change", "mesh")
    if name in options
  }
  fit_options.setdefault("make_eval_batches", toy_task.eval_batches)
  fit_options.setdefault("mesh", one_device())
  return train.fit(
    toy_task.ToyTask() if task is None else task,
    workdir=workdir,
    config=config(**options),
    make_train_batches=make_train_batches or toy_task.train_batches,
    **fit_options,
  )


def log_of(workdir, split=None):
  lines = (workdir / "log.jsonl").read_text().splitlines()
  lines = [json.loads(line) for line in lines]
  return [line for line in lines if split in (None, line["split"])]


def one_device():
  return mesh_lib.make_mesh(jax.devices()[:1])
