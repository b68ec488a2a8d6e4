"""Time of mixing a batch on the device, beside which training must be long.

python -m experiments.benchmarks.simulate
"""

import time

import jax
import numpy as np
from absl import app, flags

from jaxsep import simulate

_BATCH = flags.DEFINE_integer("batch", 16, "Mixtures.")
_SECONDS = flags.DEFINE_float("seconds", 4.0, "Length at 8 kHz.")
_TAPS = flags.DEFINE_integer("taps", 4000, "Length of the room responses.")
_REPEATS = flags.DEFINE_integer("repeats", 9, "Runs; the median is printed.")

_CASES = {
  "WSJ0-2mix style": {},
  "partial overlap, noise": {"overlap": "partial", "noise_snr_db": (0, 20)},
  "rooms, early targets, noise": {
    "noise_snr_db": (0, 20),
    "early_ms": 50,
    "sample_rate_hz": 8000,
  },
}


def main(_):
  """Prints milliseconds a batch and seconds of audio a second."""
  length = round(_SECONDS.value * 8000)
  size = _BATCH.value
  rng = np.random.default_rng(0)

  def noise(*shape):
    return 0.1 * rng.standard_normal(shape).astype(np.float32)

  batch = {
    "sources": noise(size, 2, length),
    "length": np.full((size, 2), length, np.int32),
    "index": np.arange(size, dtype=np.uint32),
    "noise": noise(size, length),
    "rir": noise(size, 2, _TAPS.value),
  }
  key = jax.random.key(0)
  for name, options in _CASES.items():
    mix = simulate.make_simulator(**options)
    used = {
      part: value
      for part, value in batch.items()
      if (part != "rir" or "early_ms" in options)
      and (part != "noise" or "noise_snr_db" in options)
    }
    run = jax.jit(
      lambda batch, mix=mix: simulate.simulate_batch(mix, batch, key=key)
    )
    used = jax.device_put(used)
    jax.block_until_ready(run(used))
    seconds = []
    for _ in range(_REPEATS.value):
      start = time.perf_counter()
      jax.block_until_ready(run(used))
      seconds.append(time.perf_counter() - start)
    median = float(np.median(seconds))
    print(
      f"{name:<28} {median * 1e3:7.1f} ms for {size} x 2 x"
      f" {_SECONDS.value:g} s  ({size * _SECONDS.value / median:,.0f} s of"
      " mixture a second)"
    )


if __name__ == "__main__":
  app.run(main)
