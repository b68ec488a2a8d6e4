"""A model here against the same model of Asteroid: time and memory.

Each side is a process of its own; they take turns, one run each, so that a
change in the machine's speed meets both. On a CPU both get the same cores.

Our side keeps the memory that a step frees, as the training jobs do;
--nokeep_freed_memory has it give the memory back. What the C library of the
peer's side does with it can be set by the environment of that process:

  --peer_env=GLIBC_TUNABLES=glibc.malloc.mmap_max=0:glibc.malloc.arena_max=1
"""

import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
from typing import Any

from experiments.benchmarks.measuring import verdict
from experiments.command import Parser, run_or_exit
from experiments.cores import allowed_cores

_HERE = pathlib.Path(__file__).parent
_ROOT = _HERE.parent.parent
_RATE_HZ = 8000


class Side:
  """A process that does its part when it is asked."""

  def __init__(self, command, cpus, environment=()):
    """Starts the process on some cores, where it can be held to them."""
    hold = None
    if hasattr(os, "sched_setaffinity"):
      hold = functools.partial(os.sched_setaffinity, 0, cpus)
    self._process = subprocess.Popen(
      command,
      cwd=_ROOT,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      preexec_fn=hold,
      env=os.environ | dict(environment),
    )

  def close(self):
    """Ends the process."""
    self._process.communicate()

  def ask(self, **request: Any) -> dict[str, Any]:
    """Sends a request and waits for its answer."""
    requests: Any = self._process.stdin
    answers: Any = self._process.stdout
    requests.write(json.dumps(request) + "\n")
    requests.flush()
    if not (line := answers.readline()):
      sys.exit(f"{self._process.args} ended early; see its message above.")
    return json.loads(line)


def cases_of(
  backend: str, cpu_target: tuple[float, float], gpu_target: float
) -> list[tuple[str, float, dict[str, Any]]]:
  """Name, target ratio and request of each case that a device is meant for."""
  if backend == "cpu":
    rows = [("float32", False, 1, 4, False), ("float32", True, 2, 2, False)]
  else:
    rows = [
      (dtype, training, 16, 4, compiled)
      for training in (False, True)
      for dtype in ("float32", "bfloat16")
      for compiled in (False, True)
    ]
  return [
    (
      f"{'training' if training else 'forward'} {batch} x {seconds} s, {dtype}"
      f"{', peer compiled' if compiled else ''}",
      cpu_target[training] if backend == "cpu" else gpu_target,
      {
        "batch": batch,
        "samples": seconds * _RATE_HZ,
        "dtype": dtype,
        "training": training,
        "compiled": compiled,
      },
    )
    for dtype, training, batch, seconds, compiled in rows
  ]


def main(
  model: str,
  *,
  cpu_target: tuple[float, float],
  gpu_target: float,
  forward_flop: float | None = None,
) -> None:
  """Runs every case that the machine is meant for, and prints the table.

  Args:
    model: Name of the model that both sides know.
    cpu_target: Largest ratio of our time to the peer's on a CPU, of the
      forward pass and of training.
    gpu_target: The same on a GPU.
    forward_flop: Operations of the matmuls of a forward pass of 4 s; with it,
      the share of the measured rate of matmuls is printed.
  """
  parser = Parser(__doc__)
  parser.add(
    "peer_python",
    default=".venv-bench/bin/python",
    help="With PyTorch and Asteroid; empty to run our side alone.",
  )
  parser.add("cpus", help="Cores of both sides, with commas.")
  parser.add("rounds", type=int, least=1, default=9)
  parser.add("nokeep_freed_memory", type=bool)
  parser.add("peer_env", type=list)
  options = parser.parse()

  def run():
    sides = commands(model, options)
    side = Side(*sides["ours"])
    device = side.ask(do="device")
    side.close()
    print(
      f"{model}, {device['name']}, {len(sides['ours'][1])} cores, "
      f"{options.rounds} rounds, load {os.getloadavg()[0]:.1f}\n"
      f"{'':<44}{'ours s':>9}{'peer s':>9}{'ours MB':>9}{'peer MB':>9}"
      f"{'matmul':>8}{'ratio':>7}"
    )
    for name, target, request in cases_of(
      device["backend"], cpu_target, gpu_target
    ):
      row = run_case(request, sides, options.rounds, forward_flop)
      print_row(name, target, row)
    print(
      "seconds: median of the rounds; MB: peak after warm-up, resident on a "
      "CPU, allocated on a GPU; matmul: share of the measured float32 rate."
    )

  run_or_exit(run, debug=options.debug)


def commands(model: str, options: Any) -> dict[str, tuple]:
  """Arguments of `Side` for "ours" and "peer"; ValueError for a wrong flag."""
  allowed = [str(core) for core in allowed_cores()]
  cpus = options.cpus.split(",") if options.cpus else allowed
  if unknown := sorted(set(cpus) - set(allowed)):
    raise ValueError(
      f"--cpus has {unknown[0]!r}; the cores are {','.join(allowed)}"
    )
  cpus = [int(core) for core in cpus]
  ours = [sys.executable, "-m", "experiments.benchmarks.side_jaxsep", model]
  if options.nokeep_freed_memory:
    ours.append("--nokeep_freed_memory")
  sides: dict[str, tuple] = {"ours": (ours, cpus)}
  if python := options.peer_python:
    if not (_ROOT / python).exists():
      raise ValueError(
        f"no Python at {python}: run `make bench`, or give --peer_python= "
        "(empty to run our side alone)"
      )
    for word in options.peer_env:
      if not word.partition("=")[0] or "=" not in word:
        raise ValueError(f"--peer_env is {word!r}; it takes NAME=VALUE")
    environment = [word.split("=", 1) for word in options.peer_env]
    # By path: that environment has no `experiments` to import from.
    command = [str(_ROOT / python), str(_HERE / "side_asteroid.py"), model]
    sides["peer"] = (command, cpus, environment)
  return sides


def run_case(request, sides, rounds, forward_flop) -> dict[str, float]:
  """Lets both sides take turns; returns one row."""
  started = {name: Side(*arguments) for name, arguments in sides.items()}
  runs: dict[str, list] = {name: [] for name in started}
  shares = []
  for side in started.values():
    side.ask(do="prepare", **request)
  for _ in range(rounds):
    for name, side in started.items():
      runs[name].append(side.ask(do="run"))
    if forward_flop and not request["training"]:
      rate = started["ours"].ask(do="matmul")["flop_per_s"]
      samples = request["batch"] * request["samples"]
      flop = forward_flop * samples / (4 * _RATE_HZ)
      shares.append(flop / rate / runs["ours"][-1]["seconds"])
  for side in started.values():
    side.close()
  row = {}
  for name, answers in runs.items():
    row[f"{name}_s"] = statistics.median(a["seconds"] for a in answers)
    row[f"{name}_mb"] = max(a["peak"] for a in answers) / 1e6
  if "peer" in runs:
    row["ratio"] = row["ours_s"] / row["peer_s"]
  if shares:
    row["matmul"] = statistics.median(shares)
  return row


def print_row(name: str, target: float, row: dict[str, float]) -> None:
  """Prints a row of the table."""
  line = f"{name:<44}"
  for column, width, form in (
    ("ours_s", 9, ".3f"),
    ("peer_s", 9, ".3f"),
    ("ours_mb", 9, ".0f"),
    ("peer_mb", 9, ".0f"),
    ("matmul", 8, ".2f"),
    ("ratio", 7, ".2f"),
  ):
    cell = format(row[column], form) if column in row else "-"
    line += f"{cell:>{width}}"
  if "ratio" in row:
    line += "  " + verdict(row["ratio"] <= target, f"at most {target:g}")
  print(line, flush=True)
