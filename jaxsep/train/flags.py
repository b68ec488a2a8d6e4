"""Flags that every training job has: its folder, and the other processes.

One process uses all its devices without any flag. For small models on CPUs see
`jaxsep.train.mesh`: more devices than one may be faster there too.
"""

import os
import sys
from collections.abc import Sequence

import jax
from absl import app, flags

from jaxsep.train.errors import TrainingError


def define_flags() -> None:
  """Defines `--workdir` and the flags of multi-process jobs."""
  flags.DEFINE_string(
    "workdir", None, "Folder of the run; a run that it holds goes on."
  )
  flags.DEFINE_bool(
    "multihost",
    False,
    "One of several processes that train together. On clusters that JAX knows "
    "the other flags are found out.",
  )
  flags.DEFINE_string(
    "coordinator_address", None, "host:port of process 0, for --multihost."
  )
  flags.DEFINE_integer(
    "num_processes", None, "How many processes, for --multihost."
  )
  flags.DEFINE_integer(
    "process_id", None, "Which of them this is, from 0, for --multihost."
  )


def start_processes() -> None:
  """Connects this process with the others if `--multihost` says so.

  Call it before anything asks JAX for its devices.

  Raises:
    TrainingError: If the flags contradict each other or nobody answers.
  """
  values = flags.FLAGS
  given = {
    "coordinator_address": values.coordinator_address,
    "num_processes": values.num_processes,
    "process_id": values.process_id,
  }
  missing = [f"--{name}" for name, value in given.items() if value is None]
  if not values.multihost:
    if len(missing) < 3:
      extra = [f"--{name}" for name in given if f"--{name}" not in missing]
      raise TrainingError(f"{', '.join(extra)} without --multihost")
    return
  if 0 < len(missing) < 3:
    raise TrainingError(
      f"--multihost needs {', '.join(missing)} too, or none of these"
    )
  if not missing and not 0 <= values.process_id < values.num_processes:
    raise TrainingError(
      f"--process_id is {values.process_id}; it is from 0 to "
      f"{values.num_processes - 1}"
    )
  try:
    jax.distributed.initialize(**given)
  except (RuntimeError, ValueError) as error:
    reason = " ".join(str(error).split())[:200]
    raise TrainingError(
      f"cannot connect the processes ({reason}); name them by "
      "--coordinator_address, --num_processes and --process_id"
    ) from error


def exit_code(signal: int | None) -> int:
  """Exit status of a run: 0, or 128 plus the signal that ended it.

  SIGTERM gives 143 and SIGINT 130; the same line started again goes on.
  """
  return 0 if signal is None else 128 + signal


def require_workdir() -> str:
  """The value of `--workdir`.

  Raises:
    TrainingError: If it is not given.
  """
  workdir = flags.FLAGS.workdir
  if not workdir:
    raise TrainingError("--workdir is missing: the folder of the run")
  return os.path.expanduser(workdir)


def parse(argv: Sequence[str]) -> list[str]:
  """Parses flags for `app.run`; a key that a config lacks takes one line."""
  try:
    return app.parse_flags_with_usage(list(argv))
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    reason = " ".join(str(error).replace("\\n", " ").split())
    print(f"error: bad flags: {reason}", file=sys.stderr, flush=True)
    sys.exit(1)
