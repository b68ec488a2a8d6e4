"""Options of small batches, and how to take and compare some."""

import numpy as np

TRAIN = {
  "batch_size": 4,
  "num_sources": 2,
  "crop_length": 1500,
  "sample_rate_hz": 8000,
  "seed": 5,
  "num_threads": 2,
}


def take(iterator, count):
  """The first batches of an iterator, which is closed."""
  taken = [next(iterator) for _ in range(count)]
  iterator.close()
  return taken


def assert_same(one, other):
  assert one.keys() == other.keys()
  for name in one:
    assert one[name].dtype == other[name].dtype
    np.testing.assert_array_equal(one[name], other[name], err_msg=name)
