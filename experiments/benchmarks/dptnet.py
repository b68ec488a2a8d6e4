"""DPTNet against Asteroid: time and memory.

Each side is a process of its own; they take turns, one run each, so that a
change in the machine's speed meets both. Both have filters of 16 samples,
chunks of 100 frames, 6 dual-path blocks and LSTMs of 128.

  python -m experiments.benchmarks.dptnet --cpus=0,1

Takes the flags of the benchmark of ConvTasNet, which says what
--nokeep_freed_memory and --peer_env are for.
"""

import dataclasses
import json
import os
import pathlib
import statistics

from absl import app, flags

from experiments.benchmarks import conv_tasnet
from experiments.benchmarks.conv_tasnet import Case
from experiments.benchmarks.targets import verdict

CPU_CASES = (
  Case("forward 1 x 4 s", 1, 4, "float32", False, target=1.0),
  Case("training 2 x 2 s", 2, 2, "float32", True, target=1.0),
)
GPU_CASES = tuple(
  dataclasses.replace(case, target=0.8) for case in conv_tasnet.GPU_CASES
)
_MODULE = "experiments.benchmarks.dptnet_jaxsep"
# So that --help shows them.
flags.adopt_module_key_flags(conv_tasnet)


def run_case(case, cpus):
  """Lets both sides take turns; returns one row."""
  sides = conv_tasnet.start_sides(_MODULE, "dptnet_asteroid.py", cpus)
  runs = {name: [] for name in sides}
  for side in sides.values():
    side.ask(**case.request())
  for _ in range(flags.FLAGS.rounds):
    for name, side in sides.items():
      runs[name].append(side.ask(do="run"))
  for side in sides.values():
    side.__exit__()
  row = {"case": case.name, "target": case.target, "load": os.getloadavg()[0]}
  for name, answers in runs.items():
    row[f"{name}_s"] = statistics.median(a["seconds"] for a in answers)
    row[f"{name}_peak_mb"] = max(a["peak"] for a in answers) / 1e6
  if "peer" in runs:
    row["ratio"] = row["ours_s"] / row["peer_s"]
  return row


def print_row(row):
  """Prints a row of the table."""
  line = f"{row['case']:<44}{row['ours_s']:>9.3f}{row['ours_peak_mb']:>9.0f}"
  if "ratio" in row:
    line += f"{row['peer_s']:>9.3f}{row['peer_peak_mb']:>9.0f}"
    line += f"{row['ratio']:>7.2f}  "
    line += verdict(row["ratio"] <= row["target"], f"at most {row['target']}")
  print(line, flush=True)


def main(_):
  """Runs every case that the machine is meant for."""
  cpus = conv_tasnet.check_flags()
  with conv_tasnet.start_ours(_MODULE, cpus) as side:
    device = side.ask(do="device")
  cases = CPU_CASES if device["backend"] == "cpu" else GPU_CASES
  print(
    f"{device['name']}, {len(cpus)} cores, {flags.FLAGS.rounds} rounds, load "
    f"{os.getloadavg()[0]:.1f} at the start"
  )
  print(f"{'':<44}{'ours s':>9}{'MB':>9}{'peer s':>9}{'MB':>9}{'ratio':>7}")
  rows = []
  for case in cases:
    rows.append(run_case(case, cpus))
    print_row(rows[-1])
  print(
    "seconds: median of the rounds; MB: peak after warm-up, resident on a "
    "CPU, allocated on a GPU."
  )
  if flags.FLAGS.output:
    text = json.dumps(rows, indent=2) + "\n"
    pathlib.Path(flags.FLAGS.output).write_text(text)


if __name__ == "__main__":
  app.run(main)
