"""Real-time factor of a causal ConvTasNet that hears a signal as it comes.

  taskset -c 0 python -m experiments.benchmarks.streaming

The paper-size model with random parameters separates `--seconds` of noise. For
each size of chunk it prints the real-time factor (time to compute over duration
of the signal), the same of the processor time, which depends less on other
programs, the median and the worst time of a chunk, from NumPy to NumPy, and the
largest difference from the model on the whole signal at once, beside the
largest sample of that. The target is a factor below 0.3 at 20 ms on one core;
where the system allows it, the process keeps to `--num_cores`.
"""

import time

import numpy as np

from experiments.benchmarks.measuring import keep_to, verdict
from experiments.command import Parser

RATE_HZ = 8000
_CHUNKS_MS = (2, 10, 20, 100)
_TARGET_CHUNK_MS, _TARGET = 20, 0.3


def measure(live, variables, mixture, length, whole) -> str:
  """Streams the mixture in chunks of a length; returns a line of the table."""
  import jax

  batch, total = mixture.shape
  total -= total % length
  state = live.init(variables, batch)
  state, _ = live.step(variables, state, np.zeros((batch, length), np.float32))
  state = jax.block_until_ready(live.init(variables, batch))
  times, parts = [], []
  cpu_s = -time.process_time()
  for start in range(0, total, length):
    begin = time.perf_counter()
    chunk = mixture[:, start : start + length]
    state, estimates = live.step(variables, state, chunk)
    parts.append(np.asarray(estimates))
    times.append(time.perf_counter() - begin)
  cpu_s += time.process_time()
  estimates = np.concatenate(parts, axis=-1)[..., live.latency :]
  difference = np.abs(estimates - whole[..., : estimates.shape[-1]]).max()
  chunk_ms, factor = 1000 * length / RATE_HZ, sum(times) / (total / RATE_HZ)
  line = (
    f"{chunk_ms:6.0f} ms {factor:10.3f} {cpu_s / (total / RATE_HZ):10.3f}"
    f" {1000 * np.median(times):10.2f} ms {1000 * max(times):10.2f} ms"
    f" {difference:12.1e} of {np.abs(whole).max():.2f}"
  )
  if chunk_ms == _TARGET_CHUNK_MS:
    line += "  " + verdict(factor < _TARGET, f"below {_TARGET}")
  return line


def run(options):
  """Prints the table."""
  keep_to(options.num_cores)
  import jax

  from jaxsep import inference, models

  model = models.ConvTasNet(masker=models.TemporalConvNet(causal=True))
  live = inference.stream(model)
  size = (1, round(options.seconds * RATE_HZ))
  mixture = np.random.default_rng(0).standard_normal(size).astype(np.float32)
  variables = jax.jit(model.init)(jax.random.key(0), mixture[:, :80])
  whole = np.asarray(jax.jit(model.apply)(variables, mixture))
  print(
    f"{options.seconds:g} s at {RATE_HZ} Hz, {jax.devices()[0]}, cores"
    f" {options.num_cores or 'all'}; outputs"
    f" {1000 * live.latency / RATE_HZ:g} ms behind\n"
    "    chunk  real time        CPU   median chunk    worst chunk"
    "  difference from the whole"
  )
  for chunk_ms in _CHUNKS_MS:
    hops = round(chunk_ms * RATE_HZ / 1000 / live.hop_length)
    length = max(1, hops) * live.hop_length
    print(measure(live, variables, mixture, length, whole), flush=True)


def main():
  """Runs; an error is one line."""
  parser = Parser(__doc__)
  parser.add("seconds", type=float, default=10.0)
  parser.add("num_cores", type=int, default=1, help="0 for all.")
  parser.run(run)


if __name__ == "__main__":
  main()
