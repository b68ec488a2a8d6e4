"""Real-time factor of a causal ConvTasNet that hears a signal as it comes.

  taskset -c 0 python -m experiments.benchmarks.streaming

The paper-size model with random parameters separates `--seconds` of noise in
chunks of 2, 10, 20 and 100 ms. For each chunk size it prints the real-time
factor (time to compute over time that the signal lasts), the median and the
worst time of a chunk, from the samples in NumPy to the estimates in NumPy, the
processor time by itself as a factor, which other programs on the core change
less, and the largest difference from the model on the whole signal at once,
beside the largest sample of that. The target is a factor below 0.3 at 20 ms on
one core: where the system allows it, the process keeps to `--num_cores` of
those that it was started on.
"""

import json
import os
import time

from absl import app, flags

from experiments.cores import allowed_cores

_SECONDS = flags.DEFINE_float("seconds", 10.0, "Length of the signal.")
_CHUNKS_MS = flags.DEFINE_multi_float(
  "chunk_ms", [2.0, 10.0, 20.0, 100.0], "Lengths of a chunk."
)
_DTYPE = flags.DEFINE_enum(
  "dtype", "float32", ["float32", "bfloat16"], "Type of the masker."
)
_BATCH = flags.DEFINE_integer("batch", 1, "Signals at a time.")
_NUM_CORES = flags.DEFINE_integer("num_cores", 1, "Cores to use; 0 for all.")
_JSON = flags.DEFINE_bool("json", False, "Print one line of JSON a chunk size.")

RATE_HZ = 8000
_TARGET_CHUNK_MS, _TARGET = 20.0, 0.3


def keep_to(num_cores: int) -> None:
  """Keeps the process, before it starts threads, to so many cores."""
  if num_cores and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, allowed_cores()[-num_cores:])


def measure(live, params, mixture, length, whole) -> dict[str, float]:
  """Streams the mixture in chunks of a length, and times each of them."""
  import jax
  import numpy as np

  batch, total = mixture.shape
  total -= total % length
  state, _ = live.step(
    params, live.init(params, batch), np.zeros((batch, length), np.float32)
  )
  state = jax.block_until_ready(live.init(params, batch))
  times, parts = [], []
  cpu_s = -time.process_time()
  for start in range(0, total, length):
    chunk = mixture[:, start : start + length]
    begin = time.perf_counter()
    state, estimates = live.step(params, state, chunk)
    parts.append(np.asarray(estimates))
    times.append(time.perf_counter() - begin)
  cpu_s += time.process_time()
  estimates = np.concatenate(parts, axis=-1)[..., live.latency :]
  difference = np.abs(estimates - whole[..., : estimates.shape[-1]]).max()
  return {
    "chunk_ms": 1000 * length / RATE_HZ,
    "real_time_factor": sum(times) / (total / RATE_HZ),
    "cpu_factor": cpu_s / (total / RATE_HZ),
    "median_ms": 1000 * float(np.median(times)),
    "worst_ms": 1000 * max(times),
    "difference": float(difference),
    "largest": float(np.abs(whole).max()),
  }


def report(result) -> str:
  """A line of the table."""
  from experiments.benchmarks import targets

  line = (
    f"{result['chunk_ms']:6.0f} ms {result['real_time_factor']:10.3f}"
    f" {result['cpu_factor']:10.3f}"
    f" {result['median_ms']:10.2f} ms {result['worst_ms']:10.2f} ms"
    f" {result['difference']:12.1e} of {result['largest']:.2f}"
  )
  if result["chunk_ms"] == _TARGET_CHUNK_MS:
    is_met = result["real_time_factor"] < _TARGET
    line += "  " + targets.verdict(is_met, f"below {_TARGET}")
  return line


def main(unused_argv):
  """Prints the table."""
  keep_to(_NUM_CORES.value)
  import jax
  import jax.numpy as jnp
  import numpy as np

  from jaxsep import inference, models

  model = models.ConvTasNet(causal=True, dtype=getattr(jnp, _DTYPE.value))
  live = inference.stream(model)
  generator = np.random.default_rng(0)
  size = (_BATCH.value, round(_SECONDS.value * RATE_HZ))
  mixture = generator.standard_normal(size).astype(np.float32)
  params = jax.jit(model.init)(jax.random.key(0), mixture[:, :80])["params"]
  whole = np.asarray(jax.jit(model.apply)({"params": params}, mixture))
  if not _JSON.value:
    print(
      f"{_SECONDS.value:g} s at {RATE_HZ} Hz, {_BATCH.value} at a time,"
      f" {_DTYPE.value}, {jax.devices()[0]}, cores {_NUM_CORES.value or 'all'};"
      f" outputs {1000 * live.latency / RATE_HZ:g} ms behind"
    )
    print(
      "    chunk  real time        CPU   median chunk    worst chunk"
      "  difference from the whole"
    )
  for chunk_ms in _CHUNKS_MS.value:
    hops = round(chunk_ms * RATE_HZ / 1000 / live.hop_length)
    length = max(1, hops) * live.hop_length
    result = measure(live, params, mixture, length, whole)
    print(json.dumps(result) if _JSON.value else report(result), flush=True)


if __name__ == "__main__":
  app.run(main)
