"""Options of small batches, and how to take and compare some."""

import numpy as np

from data_pipelines.batches import batches
from data_pipelines.examples import Mixtures

EXAMPLES = {
  "num_sources": 2,
  "crop_length": 1500,
  "sample_rate_hz": 8000,
  "seed": 5,
}
BATCHES = {"batch_size": 4, "num_threads": 2}


def reading(corpus, **options):
  """Batches of mixtures; options of `Mixtures` and of `batches` together."""
  names = "num_examples process_index process_count start_step".split()
  here = {k: v for k, v in options.items() if k in [*BATCHES, *names]}
  examples = {k: v for k, v in options.items() if k not in here}
  return batches(Mixtures(corpus, **EXAMPLES | examples), **BATCHES | here)


def take(iterator, count):
  """The first batches of an iterator, which is closed."""
  taken = [next(iterator) for _ in range(count)]
  iterator.close()
  return taken


def mixtures(corpus, count, **options):
  """The first batches of mixtures."""
  return take(reading(corpus, **options), count)


def assert_same(one, other):
  assert one.keys() == other.keys()
  for name in one:
    assert one[name].dtype == other[name].dtype
    np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def assert_hosts_equal(make, process_count):
  """What hosts read is, put together, what one reads."""
  alone = make(process_index=0, process_count=1)
  hosts = [
    make(process_index=p, process_count=process_count)
    for p in range(process_count)
  ]
  for step, expected in enumerate(alone):
    joined = {
      k: np.concatenate([host[step][k] for host in hosts]) for k in expected
    }
    assert_same(joined, expected)
