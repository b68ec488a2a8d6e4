"""ConvTasNet against Asteroid: time, share of the matmul limit, memory.

Each side is a process of its own; they take turns, one run each, so that a
change in the machine's speed meets both. On a CPU both get the same cores.

  python -m experiments.benchmarks.conv_tasnet --cpus=0,1

Our side keeps the memory that a step frees, as the training jobs do;
--nokeep_freed_memory has it give the memory back. What the C library of the
peer's side does with it can be set by the environment of that process:

  --peer_env=GLIBC_TUNABLES=glibc.malloc.mmap_max=0:glibc.malloc.arena_max=1
"""

import dataclasses
import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys

from absl import app, flags

from experiments.cores import allowed_cores

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
RATE_HZ = 8000
#: Multiplications and additions of the matmuls of one forward pass of 4 s.
FORWARD_FLOP = 38.3e9
_MODULE = "experiments.benchmarks.conv_tasnet_jaxsep"

_PEER_PYTHON = flags.DEFINE_string(
  "peer_python",
  str(ROOT / ".venv-bench/bin/python"),
  "Python with PyTorch and Asteroid; empty to run our side alone.",
)
_CPUS = flags.DEFINE_list(
  "cpus", None, "Cores for both sides, all that are allowed by default."
)
_ROUNDS = flags.DEFINE_integer("rounds", 9, "Runs of each side.", lower_bound=1)
_KEEP_FREED_MEMORY = flags.DEFINE_bool(
  "keep_freed_memory", True, "On our side, as the training jobs do."
)
_PEER_ENV = flags.DEFINE_multi_string(
  "peer_env", [], "NAME=VALUE in the environment of the peer's side."
)
_OUTPUT = flags.DEFINE_string("output", None, "Also write the rows as JSON.")


@dataclasses.dataclass(frozen=True)
class Case:
  """One line of the table, and of it each side's settings."""

  name: str
  batch: int
  seconds: float
  dtype: str
  training: bool
  compiled: bool = False
  target: float | None = None

  def request(self):
    """What both sides are told to prepare."""
    return {
      "do": "prepare",
      "batch": self.batch,
      "samples": round(self.seconds * RATE_HZ),
      "dtype": self.dtype,
      "training": self.training,
      "compiled": self.compiled,
    }


CPU_CASES = (
  Case("forward 1 x 4 s", 1, 4, "float32", False, target=0.65),
  Case("training 2 x 2 s", 2, 2, "float32", True, target=0.8),
)
GPU_CASES = tuple(
  Case(
    f"{'training' if training else 'forward'} 16 x 4 s, {dtype}"
    f"{', peer compiled' if compiled else ''}",
    16,
    4,
    dtype,
    training,
    compiled,
  )
  for training in (False, True)
  for dtype in ("float32", "bfloat16")
  for compiled in (False, True)
)


class Side:
  """A process that does its part when it is asked."""

  def __init__(self, command, cpus, environment=()):
    """Starts the process on some cores, where it can be held to them."""
    hold = None
    if hasattr(os, "sched_setaffinity"):
      hold = functools.partial(os.sched_setaffinity, 0, cpus)
    self._process = subprocess.Popen(
      command,
      cwd=ROOT,
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
      preexec_fn=hold,
      env=os.environ | dict(environment),
    )
    assert self._process.stdin and self._process.stdout
    self._requests, self._answers = self._process.stdin, self._process.stdout

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._requests.close()
    self._process.wait()

  def ask(self, **request):
    """Sends a request and waits for its answer."""
    self._requests.write(json.dumps(request) + "\n")
    self._requests.flush()
    line = self._answers.readline()
    if not line:
      sys.exit(f"{self._process.args} ended early; see its message above.")
    return json.loads(line)


def start_ours(module, cpus):
  """Starts our side of a benchmark."""
  command = [sys.executable, "-m", module]
  if not _KEEP_FREED_MEMORY.value:
    command.append("--nokeep_freed_memory")
  return Side(command, cpus)


def start_sides(module, script, cpus):
  """Starts both sides, or ours alone if there is no peer."""
  sides = {"ours": start_ours(module, cpus)}
  if _PEER_PYTHON.value:
    command = [_PEER_PYTHON.value, str(HERE / script)]
    environment = [word.split("=", 1) for word in _PEER_ENV.value]
    sides["peer"] = Side(command, cpus, environment)
  return sides


def check_flags():
  """The cores of both sides; ends if a flag is at fault."""
  if _PEER_PYTHON.value and not os.path.exists(_PEER_PYTHON.value):
    sys.exit(
      f"no Python at {_PEER_PYTHON.value}: run `make bench`, or give "
      "--peer_python= (empty to run our side alone)."
    )
  for word in _PEER_ENV.value:
    if not word.partition("=")[0] or "=" not in word:
      sys.exit(f"--peer_env is {word!r}; it takes NAME=VALUE")
  allowed = allowed_cores()
  words = _CPUS.value or [str(core) for core in allowed]
  if unknown := sorted(set(words) - {str(core) for core in allowed}):
    there = ",".join(map(str, allowed))
    sys.exit(f"--cpus has {unknown[0]!r}; the cores are {there}")
  return [int(word) for word in words]


def run_case(case, cpus):
  """Lets both sides take turns; returns one row."""
  commands = start_sides(_MODULE, "conv_tasnet_asteroid.py", cpus)
  ours = commands["ours"]
  answers = {name: [] for name in commands}
  rates = []
  for side in commands.values():
    side.ask(**case.request())
  for _ in range(_ROUNDS.value):
    for name, side in commands.items():
      answers[name].append(side.ask(do="run"))
    if not case.training:
      rates.append(ours.ask(do="matmul")["flop_per_s"])
  for side in commands.values():
    side.__exit__()
  row = {"case": case.name, "target": case.target}
  for name, runs in answers.items():
    seconds = statistics.median(run["seconds"] for run in runs)
    row[f"{name}_s"] = seconds
    row[f"{name}_audio_s_per_s"] = case.batch * case.seconds / seconds
    row[f"{name}_peak_mb"] = max(run["peak"] for run in runs) / 1e6
  if "peer" in answers:
    row["ratio"] = row["ours_s"] / row["peer_s"]
  if rates:
    flop = FORWARD_FLOP * case.batch * case.seconds / 4
    row["matmul_gflop_per_s"] = statistics.median(rates) / 1e9
    row["share_of_matmul_limit"] = statistics.median(
      flop / rate / run["seconds"]
      for rate, run in zip(rates, answers["ours"], strict=True)
    )
  return row


def print_row(row):
  """Prints a row of the table."""

  def cell(name, form):
    return format(row[name], form) if row.get(name) is not None else "-"

  print(
    f"{row['case']:<44}"
    f"{cell('ours_s', '.3f'):>9}{cell('peer_s', '.3f'):>9}"
    f"{cell('ratio', '.2f'):>7}{cell('target', '.2f'):>8}"
    f"{cell('share_of_matmul_limit', '.2f'):>8}"
    f"{cell('ours_audio_s_per_s', '.1f'):>9}"
    f"{cell('peer_audio_s_per_s', '.1f'):>9}"
    f"{cell('ours_peak_mb', '.0f'):>9}{cell('peer_peak_mb', '.0f'):>9}",
    flush=True,
  )


def main(_):
  """Runs every case that the machine is meant for."""
  cpus = check_flags()
  with start_ours(_MODULE, cpus) as side:
    device = side.ask(do="device")
  cases = CPU_CASES if device["backend"] == "cpu" else GPU_CASES
  print(f"{device['name']}, {len(cpus)} cores, {_ROUNDS.value} rounds")
  print(
    f"{'':<44}{'ours s':>9}{'peer s':>9}{'ratio':>7}{'target':>8}"
    f"{'matmul':>8}{'ours x':>9}{'peer x':>9}{'ours MB':>9}{'peer MB':>9}"
  )
  rows = []
  for case in cases:
    rows.append(run_case(case, cpus))
    print_row(rows[-1])
  print(
    "seconds: median of the rounds; matmul: share of the measured float32 "
    "matmul rate; x: seconds of audio per second; MB: peak after warm-up, "
    "resident on a CPU, allocated on a GPU."
  )
  if _OUTPUT.value:
    pathlib.Path(_OUTPUT.value).write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
  app.run(main)
