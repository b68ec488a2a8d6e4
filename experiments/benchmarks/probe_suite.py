"""Time of the harmonic probes for a ConvTasNet of the paper's size.

All that `experiments.harmonic_probes.figure --figure=2,3,4,5,6,9` does for one
model with random parameters: 15 filters, tones, gaps, fricatives and pitch,
100 mixtures of 4 s of built-in voices. It is to take less than 5 minutes on 4
cores, everything counted but the imports.

  python -m experiments.benchmarks.probe_suite

On Linux, large pages (GLIBC_TUNABLES=glibc.malloc.hugetlb=1 before the command)
save time.
"""

import time

import jax
import jax.numpy as jnp

from experiments.benchmarks.measuring import seconds, verdict
from experiments.command import Parser
from experiments.cores import allowed_cores
from experiments.harmonic_probes import figure
from experiments.harmonic_probes.mixtures import open_mixtures
from experiments.harmonic_probes.separator import Separator
from experiments.harmonic_probes.study import Study
from jaxsep import models

_RATE_HZ = 8000
_MOST_S = 300


def run(options):
  """Computes and draws every figure once and prints the times."""
  begin, begin_cpu = time.perf_counter(), time.process_time()
  model, count = models.ConvTasNet(), options.mixtures
  variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 1600)))
  study = Study(
    Separator(model, variables, sample_rate_hz=_RATE_HZ),
    lambda: open_mixtures(
      sample_rate_hz=_RATE_HZ, num_examples=count, corpus="voices"
    ),
  )
  work = {"mixtures": lambda: study.mixtures, "native": lambda: study.native}
  work |= {
    f"figure {n}": lambda n=n: study.figure(n) for n in (2, 3, 4, 5, 6, 9)
  }
  for name, part in work.items():
    print(f"{name:12} {seconds(part):7.1f} s", flush=True)
  total = time.perf_counter() - begin
  held = "the target is for 100 mixtures"
  if count >= 100:
    held = verdict(total < _MOST_S, f"under {_MOST_S} s")
  print(
    f"total {total:.1f} s for {count} mixtures on {len(allowed_cores())} cores,"
    f" {time.process_time() - begin_cpu:.0f} s of processor time; {held}"
  )


def main():
  """Runs; an error is one line."""
  parser = Parser(__doc__)
  parser.add("mixtures", type=int, default=100)
  figure.use_cores(4)
  parser.run(run)


if __name__ == "__main__":
  main()
