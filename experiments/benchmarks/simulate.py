"""Time of mixing a batch on the device, beside which training must be long.

python -m experiments.benchmarks.simulate
"""

import statistics

import jax
import numpy as np

from experiments.benchmarks.measuring import in_turns
from experiments.command import Parser
from jaxsep.simulate import Simulation, simulate_batch

_RATE_HZ = 8000
_CASES = {
  "WSJ0-2mix style": Simulation(_RATE_HZ),
  "partial overlap, noise": Simulation(
    _RATE_HZ, overlap="partial", noise_snr_db=(0, 20)
  ),
  "rooms, early targets, noise": Simulation(
    _RATE_HZ, noise_snr_db=(0, 20), early_ms=50
  ),
}


def main():
  """Prints milliseconds a batch and seconds of audio a second."""
  parser = Parser(__doc__)
  parser.add("batch", type=int, default=16, help="Mixtures.")
  parser.add("seconds", type=float, default=4.0)
  options = parser.parse()
  length, size = round(options.seconds * _RATE_HZ), options.batch
  rng = np.random.default_rng(0)

  def noise(*shape):
    return 0.1 * rng.standard_normal(shape).astype(np.float32)

  batch = {
    "sources": noise(size, 2, length),
    "length": np.full((size, 2), length, np.int32),
    "noise": noise(size, length),
    "rir": noise(size, 2, 4000),
  }
  keys = jax.random.split(jax.random.key(0), size)
  for name, simulation in _CASES.items():
    used = dict(batch)
    if simulation.early_ms is None:
      del used["rir"]
    if simulation.noise_snr_db is None:
      del used["noise"]
    used = jax.device_put(used)
    mix = jax.jit(
      lambda batch, s=simulation: simulate_batch(s, batch, keys=keys)
    )
    (times,) = in_turns(9, lambda m=mix, x=used: jax.block_until_ready(m(x)))
    median = statistics.median(times)
    print(
      f"{name:<28} {median * 1e3:7.1f} ms for {size} x 2 x"
      f" {options.seconds:g} s  ({size * options.seconds / median:,.0f} s of"
      " mixture a second)"
    )


if __name__ == "__main__":
  main()
