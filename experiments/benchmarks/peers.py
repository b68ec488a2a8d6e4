"""A model here against the same model in PyTorch: time and memory.

Each side is a process of its own; they take turns, one run each, so that a
change in the machine's speed meets both. On a CPU both get the same cores. On a
GPU, use a larger batch, --dtype=bfloat16 and --compile_peer.

Both sides keep the memory that a step frees, as our training jobs do;
--nokeep_freed_memory lets both give it back to the system.
"""

import contextlib
import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from experiments.benchmarks.measuring import verdict
from experiments.command import Parser, run_or_exit
from experiments.cores import allowed_cores

_HERE = pathlib.Path(__file__).parent
_ROOT = _HERE.parent.parent
# What `keep_freed_memory` sets, for a process that does not call it.
_KEEP_FREED = (
  "glibc.malloc.arena_max=1:glibc.malloc.mmap_max=0"
  f":glibc.malloc.trim_threshold={2**63 - 1}"
)


def ask(side: Any, do: str, **request: Any) -> Any:
  """Sends a request to a process and waits for its answer."""
  side.stdin.write(json.dumps({"do": do} | request) + "\n")
  side.stdin.flush()
  if not (line := side.stdout.readline()):
    sys.exit(f"{side.args} ended early; see its message above.")
  return json.loads(line)


@contextlib.contextmanager
def started(
  sides: dict[str, Any], cpus: list[int]
) -> Iterator[dict[str, subprocess.Popen]]:
  """Starts the sides on some cores, where they can be held to them."""
  hold = None
  if hasattr(os, "sched_setaffinity"):
    hold = functools.partial(os.sched_setaffinity, 0, cpus)
  running = {
    name: subprocess.Popen(
      command,
      cwd=_ROOT,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      preexec_fn=hold,
      env=os.environ | environment,
    )
    for name, (command, environment) in sides.items()
  }
  try:
    yield running
  finally:
    for process in running.values():
      process.communicate()


def main(
  model: str,
  *,
  targets: tuple[float, float],
  forward_flop: float | None = None,
  cases: tuple[tuple[int, int], tuple[int, int]] = ((1, 4), (2, 2)),
  rate_hz: int = 8000,
  peer: str = "side_asteroid.py",
) -> None:
  """Times a forward pass and a training step, and prints the table.

  `targets` are the largest ratios of our time to the peer's, `forward_flop` the
  operations of the matmuls in the forward pass of a second, `cases` the batch
  and the seconds of both, `peer` the file of the other side.
  """
  parser = Parser(__doc__)
  add = parser.add
  add(
    "peer_python",
    default=".venv-bench/bin/python",
    help="With PyTorch and Asteroid; empty to run our side alone.",
  )
  add("cpus", help="Cores of both sides, with commas.")
  add("rounds", type=int, least=1, default=9)
  add("batch", type=int, least=1, help="In place of the usual ones.")
  add("dtype", default="float32", choices=["float32", "bfloat16"])
  add("compile_peer", type=bool, help="The peer by torch.compile.")
  add("nokeep_freed_memory", type=bool)
  options = parser.parse()

  def run():
    sides, cpus = commands(model, options, peer)
    with started({"ours": sides["ours"]}, cpus) as running:
      device = ask(running["ours"], "device")
    print(
      f"{model}, {device}, {len(cpus)} cores, {options.rounds} rounds, load "
      f"{os.getloadavg()[0]:.1f}\n{'':<34}{'ours s':>9}{'peer s':>9}"
      f"{'ours MB':>9}{'peer MB':>9}{'matmul':>9}{'ratio':>9}"
    )
    for training, (batch, seconds) in enumerate(cases):
      request = {
        "batch": options.batch or batch,
        "samples": seconds * rate_hz,
        "dtype": options.dtype,
        "training": bool(training),
        "compiled": options.compile_peer,
      }
      flop = 0 if training else (forward_flop or 0) * seconds
      with started(sides, cpus) as running:
        row = measure(running, request, options.rounds, flop)
        if not training and peer == "side_torch.py":
          print(difference(running))
      name = "training" if training else "forward"
      name = f"{name} {request['batch']} x {seconds} s, {options.dtype}"
      print(line_of(name, row, targets[training]), flush=True)
    print(
      "seconds: median of the rounds; MB: peak after warm-up, resident on a "
      "CPU, allocated on a GPU; matmul: share of the measured float32 rate."
    )

  run_or_exit(run, debug=options.debug)


def difference(running: dict[str, Any]) -> str:
  """How far the estimates of two sides with the same weights are apart."""
  outputs = [ask(side, "output") for side in running.values()]
  apart = max(abs(a - b) for a, b in zip(*outputs, strict=True))
  return f"estimates differ by at most {apart:.1e}"


def commands(
  model: str, options: Any, peer: str
) -> tuple[dict[str, Any], list[int]]:
  """Command and environment of "ours" and "peer", and the cores of both."""
  allowed = [str(core) for core in allowed_cores()]
  cpus = options.cpus.split(",") if options.cpus else allowed
  if unknown := sorted(set(cpus) - set(allowed)):
    raise ValueError(
      f"--cpus has {unknown[0]!r}; the cores are {','.join(allowed)}"
    )
  ours = [sys.executable, "-m", "experiments.benchmarks.side_jaxsep", model]
  peer_environment = {}
  if options.nokeep_freed_memory:
    ours.append("--nokeep_freed_memory")
  else:
    tunables = [os.environ.get("GLIBC_TUNABLES"), _KEEP_FREED]
    peer_environment["GLIBC_TUNABLES"] = ":".join(filter(None, tunables))
  sides: dict[str, Any] = {"ours": (ours, {})}
  if python := options.peer_python:
    if not (_ROOT / python).exists():
      raise ValueError(
        f"no Python at {python}: run `make bench`, or give --peer_python= "
        "(empty to run our side alone)"
      )
    # By path: that environment has no `experiments` to import from.
    command = [str(_ROOT / python), str(_HERE / peer), model]
    sides["peer"] = command, peer_environment
  return sides, [int(core) for core in cpus]


def measure(running, request, rounds, flop_per_example) -> dict[str, float]:
  """Lets both sides take turns; returns one row."""
  runs: dict[str, list] = {name: [] for name in running}
  shares = []
  for side in running.values():
    ask(side, "prepare", **request)
  for _ in range(rounds):
    for name, side in running.items():
      runs[name].append(ask(side, "run"))
    if flop_per_example:
      rate = ask(running["ours"], "matmul")
      flop = flop_per_example * request["batch"]
      shares.append(flop / rate / runs["ours"][-1]["seconds"])
  row = {}
  for name, answers in runs.items():
    row[f"{name}_s"] = statistics.median(a["seconds"] for a in answers)
    row[f"{name}_mb"] = max(a["peak"] for a in answers) / 1e6
  if "peer" in runs:
    row["ratio"] = row["ours_s"] / row["peer_s"]
  if shares:
    row["matmul"] = statistics.median(shares)
  return row


def line_of(name: str, row: dict[str, float], target: float) -> str:
  """A row of the table as it is printed."""
  line = f"{name:<34}"
  for column, digits in (
    ("ours_s", 3),
    ("peer_s", 3),
    ("ours_mb", 0),
    ("peer_mb", 0),
    ("matmul", 2),
    ("ratio", 2),
  ):
    line += f"{row[column]:9.{digits}f}" if column in row else f"{'-':>9}"
  if "ratio" in row:
    line += "  " + verdict(row["ratio"] <= target, f"at most {target:g}")
  return line
