"""Room impulse responses: time of one, and of pyroomacoustics.

  python -m experiments.benchmarks.rooms

The same images, or more, in rounds that take turns, on one core: responses of
8 x 6 x 3 m at 16 kHz with a T60 of 0.4 s by Sabine's formula. pyroomacoustics
gets the reflection order that it recommends for the time, and images of this
order that arrive too late; jaxsep has all images that arrive in time.
"""

import os
import statistics

from experiments.benchmarks import measuring
from experiments.command import Parser, run_or_exit

_ROOM, _T60_S, _RATE_HZ = (8.0, 6.0, 3.0), 0.4, 16_000


def run(options):
  """Prints one line for each, and the verdict."""
  measuring.keep_to(1)
  os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
  import jax
  import numpy as np
  import pyroomacoustics as pra

  from jaxsep import simulate

  pra.constants.set("num_threads", 1)
  absorption, order = pra.inverse_sabine(_T60_S, _ROOM)
  rng, room = np.random.default_rng(0), np.array(_ROOM)
  sources = room * rng.uniform(0.1, 0.9, (options.num_sources, 3))
  microphone = room * rng.uniform(0.2, 0.8, 3)

  def peer():
    shoebox = pra.ShoeBox(
      room, fs=_RATE_HZ, materials=pra.Material(absorption), max_order=order
    )
    for source in sources:
      shoebox.add_source(source)
    shoebox.add_microphone(microphone)
    shoebox.compute_rir()
    return shoebox

  def ours():
    rirs = simulate.shoebox_rir(
      room,
      sources,
      microphone,
      absorption=absorption,
      sample_rate_hz=_RATE_HZ,
      length=round(_T60_S * _RATE_HZ),
    )
    return jax.block_until_ready(rirs)

  times = measuring.in_turns(options.rounds, ours, peer)
  ours_s, peer_s = (statistics.median(x) / len(sources) for x in times)
  images = peer().sources[0].images
  late = np.linalg.norm(images - microphone[:, None], axis=0)
  heard = np.sum(late < _T60_S * pra.constants.get("c"))
  print(f"{jax.devices()[0]}, one core, {len(sources)} responses a call")
  print(f"jaxsep {1e3 * ours_s:.2f} ms a response, {heard} images in time")
  print(
    f"pyroomacoustics {1e3 * peer_s:.2f} ms, order {order}, "
    f"{images.shape[1]} images"
  )
  per_image = ours_s / heard * images.shape[1] / peer_s
  print(f"per image that is used, {per_image:.3f} times its time")
  is_met = ours_s <= peer_s
  target = measuring.verdict(is_met, "1.0")
  print(f"{ours_s / peer_s:.3f} times its time; {target}")


def main():
  """Runs; an error is one line."""
  parser = Parser(__doc__)
  parser.add("rounds", type=int, least=1, default=5, help="Runs of each.")
  parser.add("num_sources", type=int, least=1, default=4, help="Of a call.")
  options = parser.parse()
  run_or_exit(lambda: run(options), debug=options.debug)


if __name__ == "__main__":
  main()
