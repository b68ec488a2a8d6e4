"""What every training job shares: from a config to a run.

A paper's `train.py` gives `main` a function that makes its task:

  def make_task(config, *, data=None, frozen=None):
    return tasks.SeparationTask(model=build(config.model), ...)

  if __name__ == "__main__":
    job.main(make_task, __doc__)

`data` is what `open_data(config, say=...)` returned, for what a task takes from
its corpus, such as the number of speakers. It has

  train_batches(start_step, process_index=..., process_count=...)
  eval_batches(process_index=..., process_count=...)
  describe(): what fixes the examples, as JSON values
  may_change: the options in `config.data` that need not stay the same, if any

`frozen` has the loaded model folders of `config.frozen` by name. The optimizer
of a config is any registered class with `make(num_steps)`, see
`OptimizerConfig`. Configs are made by `make_config` and `options` from class
instances.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from flax import traverse_util

import jaxsep
from experiments import data as data_lib
from experiments.command import Parser, run_or_exit, say
from experiments.optimizer import OptimizerConfig
from experiments.options import (
  build,
  known_classes,
  load,
  make_config,
  options,
  override,
  to_json,
)
from jaxsep import json_values, train
from jaxsep.train.checkpoint import has_checkpoint

__all__ = [
  "OptimizerConfig",
  "build",
  "fit",
  "load_frozen",
  "load_model",
  "main",
  "make_config",
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
)


def fit(
  config: Any,
  make_task: Callable[..., Any],
  *,
  workdir: Any,
  open_data: Callable[..., Any] = data_lib.open_data,
  say: Callable[[str], None] = say,
  **further: Any,
) -> train.FitResult:
  """Trains what a config describes in `workdir`, or goes on with it.

  `further` arguments go to `train.fit`.
  """
  loop = build(config.train, where="config.train")
  maker = build(config.optimizer, where="config.optimizer")
  optimizer, schedule, plateau = maker.make(loop.num_steps)
  decay_end = _decay_end(maker, loop, workdir)
  is_first = jax.process_index() == 0
  data = open_data(config, say=say if is_first else lambda line: None)
  frozen = load_frozen(config)
  task = make_task(config, data=data, frozen=frozen)
  here = {
    "process_index": jax.process_index(),
    "process_count": jax.process_count(),
  }
  changing = [f"config.data.{name}" for name in getattr(data, "may_change", ())]
  if decay_end is not None:
    changing.append("config.optimizer.decay_steps")
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
    frozen={name: x.variables for name, x in frozen.items()} or None,
    run_config={
      "config": to_json(config),
      "data": data.describe(),
      "decay_end": decay_end,
      "frozen": {
        name: json_values.encode(x.model) for name, x in frozen.items()
      },
    },
    may_change=(*MAY_CHANGE, *changing),
    **further,
  )


def load_model(where: Any) -> Any:
  """Loads a model of jaxsep's classes or of registered ones."""
  return jaxsep.load(where, model_class=known_classes())


def load_frozen(config: Any) -> dict[str, Any]:
  """Loads the models of a config that are used in training but not trained."""
  return {name: load_model(where) for name, where in config.frozen.items()}


def main(
  make_task: Callable[..., Any],
  doc: str | None = None,
  *,
  open_data: Callable[..., Any] = data_lib.open_data,
  variants: Mapping[str, Callable[[Any], Any]] | None = None,
  argv: Sequence[str] | None = None,
) -> None:
  """A training command: reads the flags, trains, and ends the process.

  `variants` change every config in the same way, by the name in --variant.
  The exit status is 0 when the run is over, 143 or 130 when SIGTERM or SIGINT
  ended it after a checkpoint, and 1 for a mistake, which one line explains.
  """
  parser = Parser(doc)
  add = parser.add
  config_help = "Config file; --config.NAME=VALUE changes an option."
  add("config", required=True, help=config_help)
  if variants:
    names = " or ".join(variants)
    add("variant", help=f"A change of the config: {names}.")
  add("workdir", help="Folder of the run; a run that it holds goes on.")
  add("print_config", type=bool, help="Print the config, and end.")
  add("multihost", type=bool, help="One of several processes that train.")
  add("coordinator_address", help="host:port of process 0, if not known.")
  add("num_processes", type=int, help="How many processes.")
  add("process_id", type=int, help="Which of them this is, from 0.")
  flags = parser.parse(argv, unknown="--config.")

  def run() -> int:
    config = load(flags.config)
    if variants and flags.variant:
      if flags.variant not in variants:
        raise ValueError(
          f"--variant is {flags.variant!r}; known are {', '.join(variants)}"
        )
      config = variants[flags.variant](config)
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


def _decay_end(maker, loop, workdir):
  """Where the learning rate ends to decay; that of a run that goes on stays."""
  end = getattr(maker, "decay_end", lambda num_steps: None)(loop.num_steps)
  earlier = train.read_config(workdir) or {}
  before = (earlier.get("run") or {}).get("decay_end")
  if None not in (end, before) and end != before:
    raise ValueError(
      f"the learning rate of {workdir} decays until step {before}, not {end}: "
      f"--config.optimizer.decay_steps={before} keeps it where it was"
    )
  return end


def _init_from(named, workdir):
  """The variables that a new run starts from, of all folders in one tree."""
  # A run that goes on needs them no more: the folder may be gone by then.
  if not named or has_checkpoint(workdir):
    return None
  named = {"": named} if isinstance(named, str) else dict(named)
  flat = {}
  # The whole model first, then its parts.
  for place in sorted(named, key=lambda name: name.count("/") + bool(name)):
    folder, colon, part = named[place].rpartition(":")
    if not colon or os.path.exists(named[place]) or part.startswith("//"):
      folder, part = named[place], ""
    variables = load_model(folder).variables
    source = tuple(filter(None, part.split("/")))
    target = tuple(filter(None, place.split("/"))) or source
    found = {
      (path[0], *target, *path[1 + len(source) :]): value
      for path, value in traverse_util.flatten_dict(variables).items()
      if path[1 : 1 + len(source)] == source
    }
    if not found:
      raise ValueError(
        f"init_from is {named[place]}, but {folder} has no part {part}; it has "
        f"{', '.join(sorted(variables['params']))}"
      )
    flat |= found
  return traverse_util.unflatten_dict(flat)
