"""What benchmarks share: cores, medians, targets. Imports no JAX."""

import importlib
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

from experiments.cores import allowed_cores


def verdict(is_met: bool, target: str) -> str:
  """The target, and whether it is met: the end of a line."""
  return f"target {target}: {'met' if is_met else 'missed'}"


def keep_to(num_cores: int) -> None:
  """Keeps the process, before it starts threads, to so many of its cores.

  Args:
    num_cores: How many; 0 for all.

  Raises:
    ValueError: If it has not so many.
  """
  cores = allowed_cores()
  if num_cores > len(cores):
    raise ValueError(f"{num_cores} cores wanted, but there are {len(cores)}")
  if not num_cores or num_cores == len(cores):
    return
  if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, cores[-num_cores:])
  else:
    print(
      f"this system cannot keep a process to {num_cores} of its {len(cores)} "
      "cores: XLA may use more, so the times do not compare"
    )


def seconds(work: Callable[[], Any]) -> float:
  """Seconds that a call takes."""
  start = time.perf_counter()
  work()
  return time.perf_counter() - start


def in_turns(repeats: int, *works: Callable[[], Any]) -> list[list[float]]:
  """Times calls in turns, so that a change of the machine's speed meets all.

  Args:
    repeats: Timed calls of each, after one that is not.
    *works: What to call.

  Returns:
    The seconds of each call, a list for each of the works.
  """
  for work in works:
    work()
  rounds = [[seconds(work) for work in works] for _ in range(repeats)]
  return [list(times) for times in zip(*rounds, strict=True)]


def median_s(repeats: int, work: Callable[[], Any]) -> float:
  """Median of the seconds that a call takes, after one that is not timed."""
  return statistics.median(in_turns(repeats, work)[0])


def peer(name: str, package: str) -> Any:
  """An optional peer; ValueError, in a line, that says how to get it."""
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise ValueError(
      f"this benchmark compares with {package}, which is not installed: pip "
      f"install {package} (or all peers: pip install -e '.[test]')"
    ) from error
