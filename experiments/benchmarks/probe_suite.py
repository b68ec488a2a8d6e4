"""Time of the harmonic probes for a ConvTasNet of the paper's size.

All that `experiments.harmonic_probes.figure --figure=2,3,4,5,6,9` does for one
model with random parameters: 15 filters, tones, gaps, fricatives and pitch,
100 mixtures of 4 s of built-in voices. It is to take less than 5 minutes on 4
cores, everything counted but the imports.

  python -m experiments.benchmarks.probe_suite

On Linux, large pages (GLIBC_TUNABLES=glibc.malloc.hugetlb=1 before the command)
save up to a tenth of the time.
"""

import json
import time

import jax
import jax.numpy as jnp
from absl import app, flags

from experiments.benchmarks import targets
from experiments.command import run_or_exit
from experiments.cores import allowed_cores
from experiments.harmonic_probes import figure, probe_set, suite
from experiments.harmonic_probes.separator import Separator
from jaxsep import models

_NUM_EXAMPLES = flags.DEFINE_integer("mixtures", 100, "Mixtures of speech.")
_JSON = flags.DEFINE_bool("json", False, "Print one line of JSON.")

_RATE_HZ = 8000
_MOST_S = 300
_FIGURES = (2, 3, 4, 5, 6, 9)


def run():
  """Computes and draws every figure once and prints the times."""
  begin, begin_cpu = time.perf_counter(), time.process_time()
  batch_size = flags.FLAGS.batch_size
  model = models.ConvTasNet(num_sources=2)
  params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 1600)))
  probes = suite.Probes(
    Separator(
      model, params["params"], sample_rate_hz=_RATE_HZ, batch_size=batch_size
    ),
    lambda: probe_set.open_probe_set(
      sample_rate_hz=_RATE_HZ,
      num_examples=_NUM_EXAMPLES.value,
      corpus="voices",
    ),
  )
  times = {}

  def measure(name, work):
    start = time.perf_counter()
    work()
    times[name] = time.perf_counter() - start
    if not _JSON.value:
      print(f"{name:12} {times[name]:7.1f} s", flush=True)

  measure("mixtures", probes.open)
  measure("native", lambda: probes.native)
  for number in _FIGURES:
    measure(f"figure {number}", lambda number=number: probes.figure(number))
  total = time.perf_counter() - begin
  cpu = time.process_time() - begin_cpu
  cores = len(allowed_cores())
  if _JSON.value:
    print(json.dumps({"seconds": times, "total": total, "cpu": cpu}))
    return
  held = "the target is for 100 mixtures"
  if _NUM_EXAMPLES.value >= 100:
    held = targets.verdict(total < _MOST_S, f"under {_MOST_S} s")
  print(
    f"total {total:.1f} s for {_NUM_EXAMPLES.value} mixtures on {cores} cores, "
    f"{cpu:.0f} s of processor time; {held}"
  )


def main(argv):
  """Runs; an error is one line."""
  figure.use_cores()
  run_or_exit(run, argv)


if __name__ == "__main__":
  app.run(main)
