"""BSS-eval here against fast_bss_eval on PyTorch, in one process.

Both sides score the same batch of estimates under the best permutation, taking
turns, so that a busy machine is equally unfair to both. Prints the median of
the pairwise ratios, and how far the values differ from each other and from
mir_eval in float64, each with its target: at most 0.8 times the peer's time,
and the same values to 0.01 dB.

  python -m experiments.benchmarks.bss_eval --threads=1 --repeats=9
"""

import importlib
import os
import time

import numpy as np
from absl import app, flags

from experiments.benchmarks import targets
from experiments.cores import allowed_cores

_THREADS = flags.DEFINE_integer("threads", 1, "CPU threads of either side.")
_REPEATS = flags.DEFINE_integer("repeats", 9, "Runs of each side.")
_BATCH = flags.DEFINE_integer("batch", 16, "Mixtures.")
_SOURCES = flags.DEFINE_integer("sources", 2, "Sources of each mixture.")
_SECONDS = flags.DEFINE_float("seconds", 4.0, "Length at 8 kHz.")
_CHECKED = flags.DEFINE_integer(
  "checked", 2, "Mixtures of which mir_eval checks the values; it is slow."
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the signals.")

_RATE_HZ = 8000
_MOST_TIME = 0.8
_MOST_DIFFERENCE_DB = 0.01


def peer(name, package):
  """An optional peer, or one line that says how to get it."""
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise SystemExit(
      f"This benchmark compares with {package}, which is not installed:"
      f" pip install {package}  (or all peers: pip install -e '.[test]')"
    ) from error


def signals(batch, sources, length, seed):
  """Voice-like references, and estimates as a fair separator leaves them."""
  rng = np.random.default_rng(seed)
  noise = rng.standard_normal((batch, sources, length))
  # A spectrum that falls by 30 dB and a level that moves, as that of speech.
  frequency = np.fft.rfftfreq(length, 1 / _RATE_HZ)
  slope = (1 + (frequency / 500) ** 2) ** -0.6
  coloured = np.fft.irfft(np.fft.rfft(noise) * slope, length)
  syllables = rng.uniform(0, 2 * np.pi, (batch, sources, 1))
  steps = 2 * np.pi * 3 * np.arange(length) / _RATE_HZ
  reference = coloured * (1.05 + np.sin(steps + syllables))
  leak = 0.2 * np.roll(reference, 1, axis=1)
  hiss = 0.05 * rng.standard_normal(reference.shape) * reference.std()
  estimate = np.roll(reference + leak + hiss, 1, axis=1)
  return estimate.astype(np.float32), reference.astype(np.float32)


def timed(function):
  """Seconds of one call, and what it returned."""
  start = time.perf_counter()
  result = function()
  return time.perf_counter() - start, result


def compare(name, ours, theirs, repeats):
  """Prints the ratio of the two, run in turns."""
  ours()
  theirs()
  pairs = [(timed(ours)[0], timed(theirs)[0]) for _ in range(repeats)]
  own, other = np.median(pairs, axis=0)
  ratios = [a / b for a, b in pairs]
  print(
    f"{name:<24} jaxsep {own * 1e3:7.1f} ms   peer {other * 1e3:7.1f} ms  "
    f" ratio of medians {own / other:.2f}"
    f"  (pairs {min(ratios):.2f} to {max(ratios):.2f})  "
    + targets.verdict(own / other <= _MOST_TIME, f"at most {_MOST_TIME:g}")
  )


def largest_difference(ours, theirs, *, exact=True):
  """Largest absolute differences of SDR, SIR and SAR, beside the target.

  What is not exact is itself off by more, and is no measure of ours.
  """
  gaps = [
    np.abs(np.asarray(a) - np.asarray(b)).max()
    for a, b in zip(ours[:3], theirs[:3], strict=True)
  ]
  line = "SDR {:.4f}  SIR {:.4f}  SAR {:.4f} dB  ".format(*gaps)
  if not exact:
    return f"{line}no target: an approximation"
  # Not max(gaps), which may pass over a NaN.
  met = all(gap <= _MOST_DIFFERENCE_DB for gap in gaps)
  return line + targets.verdict(met, f"at most {_MOST_DIFFERENCE_DB:g} dB")


def keep_to(threads):
  """Lets this process use so many CPUs, where the system can be told."""
  if not hasattr(os, "sched_setaffinity"):
    count = os.cpu_count() or 1
    if threads < count:
      print(
        f"this system cannot hold a process to {threads} of its {count} CPUs:"
        " XLA may use more, so the times do not compare"
      )
    return
  available = allowed_cores()
  if threads > len(available):
    raise SystemExit(f"{threads} threads wanted, {len(available)} CPUs allowed")
  os.sched_setaffinity(0, available[:threads])


def main(_):
  """Runs the comparison."""
  threads = _THREADS.value
  # Before the imports: both thread pools take their size from this.
  keep_to(threads)
  os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
  os.environ["JAX_PLATFORMS"] = "cpu"
  torch = peer("torch", "torch==2.13.0")
  fast_bss_eval = peer("fast_bss_eval", "fast-bss-eval")
  separation = peer("mir_eval", "mir_eval").separation
  torch.set_num_threads(threads)
  import jax

  from jaxsep import metrics

  length = round(_SECONDS.value * _RATE_HZ)
  estimate, reference = signals(
    _BATCH.value, _SOURCES.value, length, _SEED.value
  )
  print(
    f"{_BATCH.value} x {_SOURCES.value} x {_SECONDS.value:g} s at 8 kHz,"
    f" float32, with permutation, {threads} thread(s), medians of"
    f" {_REPEATS.value}"
  )
  on_device = jax.device_put((estimate, reference))
  on_torch = torch.from_numpy(reference), torch.from_numpy(estimate)

  def ours():
    return jax.block_until_ready(metrics.bss_eval_permuted(*on_device))

  def direct():
    return fast_bss_eval.bss_eval_sources(*on_torch)

  def iterative():
    return fast_bss_eval.bss_eval_sources(*on_torch, use_cg_iter=10)

  result = ours()
  for name, theirs in (("direct solver", direct), ("10 CG steps", iterative)):
    try:
      other = theirs()
    except RuntimeError as error:
      print(f"{name:<24} the peer failed: {str(error).splitlines()[0]}")
      continue
    compare(f"peer's {name}", ours, theirs, _REPEATS.value)
    gaps = largest_difference(result, other, exact=theirs is direct)
    print(f"  differs from it by     {gaps}")
    same = np.array_equal(result[3], np.asarray(other[3]))
    print(f"  same permutations      {same}")
  check_against_mir_eval(separation, estimate, reference, result)


def check_against_mir_eval(separation, estimate, reference, result):
  """Prints the distance to the float64 oracle on the first mixtures."""
  import warnings

  count = min(_CHECKED.value, len(estimate))
  if not count:
    return
  with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    truth = [
      separation.bss_eval_sources(
        reference[i].astype(np.float64), estimate[i].astype(np.float64)
      )[:3]
      for i in range(count)
    ]
  ours = [np.asarray(value)[:count] for value in result[:3]]
  theirs = np.swapaxes(np.array(truth), 0, 1)
  print(f"  differs from mir_eval  {largest_difference(ours, theirs)}")


if __name__ == "__main__":
  app.run(main)
