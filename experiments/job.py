"""What every training job shares: from a config to a run.

A paper's `train.py` gives `main` a function that makes its task:

  def make_task(config):
    return tasks.SeparationTask(model=build(config.model), ...)

  if __name__ == "__main__":
    job.main(make_task, __doc__)

Its configs are made by `make_config` and `options` from class instances.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax

import jaxsep
from experiments import data as data_lib
from experiments.command import Parser, run_or_exit, say
from experiments.optimizer import OptimizerConfig, make_optimizer
from experiments.options import (
  build,
  load,
  make_config,
  options,
  override,
  to_json,
)
from jaxsep import train
from jaxsep.train.checkpoint import has_checkpoint

__all__ = [
  "OptimizerConfig",
  "build",
  "fit",
  "main",
  "make_config",
  "make_optimizer",
  "options",
  "override",
]

#: Keys of a config that may differ when a run goes on. `train.fit` itself
#: compares what matters of the first five, as parts of the loop and the task.
MAY_CHANGE = (
  "config.train",
  "config.model",
  "config.simulation",
  "config.loss",
  "config.sample_rate_hz",
  "config.init_from",
  "config.frozen",
  *(f"config.data.{name}" for name in data_lib.MAY_CHANGE),
)


def fit(
  config: Any,
  make_task: Callable[[Any], Any],
  *,
  workdir: Any,
  open_data: Callable[..., Any] = data_lib.open_data,
  say: Callable[[str], None] = say,
  **further: Any,
) -> train.FitResult:
  """Trains what a config describes in `workdir`, or goes on with it.

  `further` arguments go to `train.fit`.
  """
  task = make_task(config)
  loop = build(config.train, where="config.train")
  optimizer, schedule, plateau = make_optimizer(
    build(config.optimizer, where="config.optimizer"), loop.num_steps
  )
  is_first = jax.process_index() == 0
  data = open_data(config, say=say if is_first else lambda line: None)
  here = {
    "process_index": jax.process_index(),
    "process_count": jax.process_count(),
  }
  return train.fit(
    task,
    workdir=workdir,
    config=loop,
    optimizer=optimizer,
    schedule=schedule,
    plateau=plateau,
    make_train_batches=lambda step: data.train_batches(step, **here),
    make_eval_batches=lambda: data.eval_batches(**here),
    init_from=_init_from(config.init_from, workdir),
    frozen={
      name: jaxsep.load(folder).variables
      for name, folder in config.frozen.items()
    }
    or None,
    run_config={
      "config": to_json(config),
      "data": data.describe(),
      # A decay that ends with the run moves when the run gets longer.
      "decay_steps": config.optimizer.decay_steps or loop.num_steps
      if config.optimizer.schedule in ("cosine", "linear")
      else None,
    },
    may_change=MAY_CHANGE,
    **further,
  )


def main(
  make_task: Callable[[Any], Any],
  doc: str | None = None,
  *,
  open_data: Callable[..., Any] = data_lib.open_data,
  argv: Sequence[str] | None = None,
) -> None:
  """A training command: reads the flags, trains, and ends the process.

  The exit status is 0 when the run is over, 143 or 130 when SIGTERM or SIGINT
  ended it after a checkpoint, and 1 for a mistake, which one line explains.
  """
  parser = Parser(doc)
  add = parser.add
  add("config", help="Config file; --config.NAME=VALUE changes an option.")
  add("workdir", help="Folder of the run; a run that it holds goes on.")
  add("print_config", type=bool, help="Print the config, and end.")
  add("multihost", type=bool, help="One of several processes that train.")
  add("coordinator_address", help="host:port of process 0, if not known.")
  add("num_processes", type=int, help="How many processes.")
  add("process_id", type=int, help="Which of them this is, from 0.")
  flags = parser.parse(argv, unknown="--config.")

  def run() -> int:
    if not flags.config:
      raise ValueError("--config is missing: a file of options")
    config = load(flags.config)
    override(config, flags.words)
    if flags.print_config:
      print(json.dumps(to_json(config), indent=2))
      return 0
    if not flags.workdir:
      raise ValueError("--workdir is missing: the folder of the run")
    _start_processes(flags)
    train.keep_freed_memory()
    workdir = os.path.expanduser(flags.workdir)
    result = fit(config, make_task, workdir=workdir, open_data=open_data)
    if jax.process_index() == 0 and result.reason != "signal":
      say(f"{result.reason}; the best model is of step {result.best_step}")
    return 0 if result.signal is None else 128 + result.signal

  sys.exit(run_or_exit(run, debug=flags.debug))


def _start_processes(flags):
  """Connects this process with the others if `--multihost` says so."""
  names = ("coordinator_address", "num_processes", "process_id")
  given = {name: getattr(flags, name) for name in names}
  missing = [f"--{name}" for name in names if given[name] is None]
  if not flags.multihost:
    if len(missing) < len(names):
      raise ValueError("--multihost is missing: other flags are for it")
    return
  if 0 < len(missing) < len(names):
    raise ValueError(f"--multihost needs {', '.join(missing)}, or none at all")
  try:
    jax.distributed.initialize(**given)
  except (RuntimeError, ValueError) as error:
    raise ValueError(f"cannot connect the processes ({error})") from error


def _init_from(name, workdir):
  """The variables that `FOLDER` or `FOLDER:part` names, for a new run."""
  # A run that goes on needs them no more: the folder may be gone by then.
  if not name or has_checkpoint(workdir):
    return None
  folder, colon, part = name.rpartition(":")
  if not colon or os.path.exists(name) or part.startswith("//"):
    return jaxsep.load(name).variables
  variables = jaxsep.load(folder).variables
  found = {c: {part: x[part]} for c, x in variables.items() if part in x}
  if not found:
    raise ValueError(
      f"init_from is {name}, but {folder} has no part {part}; it has "
      f"{', '.join(sorted(variables['params']))}"
    )
  return found
