"""BSS-eval here against fast_bss_eval on PyTorch, in one process.

Both sides score the same batch of estimates under the best permutation, in
turns. Prints the ratio of the median times, and how far the values differ from
each other and from mir_eval in float64, each with its target: at most 0.8 times
the peer's time, and the same values to 0.01 dB.

  python -m experiments.benchmarks.bss_eval --threads=1 --repeats=9
"""

import os
import warnings
from typing import Any

import numpy as np

from experiments.benchmarks.measuring import in_turns, keep_to, verdict
from experiments.command import Parser

_RATE_HZ = 8000
_SECONDS = 4.0
_BATCH, _SOURCES = 16, 2
_MOST_TIME = 0.8
_MOST_DIFFERENCE_DB = 0.01
# Mixtures of which mir_eval checks the values; it is slow.
_CHECKED = 2


def signals(length):
  """Noise like speech as references, and estimates of a fair separator."""
  rng = np.random.default_rng(0)
  noise = rng.standard_normal((_BATCH, _SOURCES, length))
  # A spectrum that falls by 30 dB and a level that moves, as that of speech.
  frequency = np.fft.rfftfreq(length, 1 / _RATE_HZ)
  slope = (1 + (frequency / 500) ** 2) ** -0.6
  coloured = np.fft.irfft(np.fft.rfft(noise) * slope, length)
  syllables = rng.uniform(0, 2 * np.pi, (_BATCH, _SOURCES, 1))
  steps = 2 * np.pi * 3 * np.arange(length) / _RATE_HZ
  reference = coloured * (1.05 + np.sin(steps + syllables))
  leak = 0.2 * np.roll(reference, 1, axis=1)
  hiss = 0.05 * rng.standard_normal(reference.shape) * reference.std()
  estimate = np.roll(reference + leak + hiss, 1, axis=1)
  return estimate.astype(np.float32), reference.astype(np.float32)


def largest_difference(ours, theirs, *, is_exact=True):
  """Largest differences of SDR, SIR and SAR; no target for approximations."""
  ours, theirs = (np.stack([*map(np.asarray, x[:3])]) for x in (ours, theirs))
  gaps = np.abs(ours - theirs).max(axis=(1, 2))
  line = "SDR {:.4f}  SIR {:.4f}  SAR {:.4f} dB  ".format(*gaps)
  if not is_exact:
    return f"{line}no target: an approximation"
  met = (gaps <= _MOST_DIFFERENCE_DB).all()
  return line + verdict(met, f"at most {_MOST_DIFFERENCE_DB:g} dB")


def run(options):
  """Prints the comparison."""
  # Before the imports: both thread pools take their size from this.
  keep_to(options.threads)
  os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(
    options.threads
  )
  os.environ["JAX_PLATFORMS"] = "cpu"
  import fast_bss_eval
  import jax
  import torch
  from mir_eval import separation

  from jaxsep import metrics

  torch.set_num_threads(options.threads)
  length = round(_SECONDS * _RATE_HZ)
  estimate, reference = signals(length)
  print(
    f"{_BATCH} x {_SOURCES} x {_SECONDS:g} s at 8 kHz, float32,"
    f" with permutation, {options.threads} thread(s), medians of"
    f" {options.repeats}"
  )
  on_device = jax.device_put((estimate, reference))
  on_torch: Any = torch.from_numpy(reference), torch.from_numpy(estimate)

  def ours():
    return jax.block_until_ready(metrics.bss_eval_permuted(*on_device))

  result = ours()
  solvers = {"direct solver": {}, "10 CG steps": {"use_cg_iter": 10}}
  for name, more in solvers.items():

    def theirs(more=more):
      return fast_bss_eval.bss_eval_sources(*on_torch, **more)

    try:
      other = theirs()
    except RuntimeError as error:
      print(f"{name:<24} the peer failed: {str(error).splitlines()[0]}")
      continue
    times = np.array(in_turns(options.repeats, ours, theirs))
    own, their = np.median(times, axis=1)
    ratios = times[0] / times[1]
    print(
      f"peer's {name:<17} jaxsep {own * 1e3:7.1f} ms   peer {their * 1e3:7.1f}"
      f" ms   ratio of medians {own / their:.2f}  (pairs {ratios.min():.2f} to"
      f" {ratios.max():.2f})  "
      + verdict(own / their <= _MOST_TIME, f"at most {_MOST_TIME:g}")
    )
    gaps = largest_difference(result, other, is_exact=not more)
    print(f"  differs from it by     {gaps}")
    same = np.array_equal(result[3], np.asarray(other[3]))
    print(f"  same permutations      {same}")
  warnings.simplefilter("ignore", FutureWarning)
  truth = [
    separation.bss_eval_sources(
      reference[i].astype(np.float64), estimate[i].astype(np.float64)
    )[:3]
    for i in range(_CHECKED)
  ]
  ours_checked = [value[:_CHECKED] for value in result[:3]]
  gaps = largest_difference(ours_checked, np.swapaxes(np.array(truth), 0, 1))
  print(f"  differs from mir_eval  {gaps}")


def main():
  """Runs; an error is one line."""
  parser = Parser(__doc__)
  parser.add("threads", type=int, default=1, help="Of either side.")
  parser.add("repeats", type=int, default=9)
  parser.run(run)


if __name__ == "__main__":
  main()
