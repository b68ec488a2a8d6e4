"""What benchmarks share: cores, medians, targets. Imports no JAX."""

import importlib
import os
import pathlib
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from experiments.cores import allowed_cores


def verdict(is_met: bool, target: str) -> str:
  """The target, and whether it is met: the end of a line."""
  return f"target {target}: {'met' if is_met else 'missed'}"


def keep_to(num_cores: int) -> None:
  """Keeps the process, which has no threads yet, to so many cores; 0: all."""
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


def peak_bytes() -> int:
  """The most memory that this process has held so far."""
  status = pathlib.Path("/proc/self/status")
  if status.exists():
    # The other source counts what the parent process held before the start.
    for line in status.read_text().splitlines():
      if line.startswith("VmHWM"):
        return int(line.split()[1]) * 1024
  scale = 1 if sys.platform == "darwin" else 1024
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def in_turns(repeats: int, *works: Callable[[], Any]) -> list[list[float]]:
  """Seconds of so many calls of each, taking turns, after one untimed call.

  A change of the machine's speed then meets all of them.
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
