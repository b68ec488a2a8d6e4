"""Buckets that waste the least padding."""

import itertools

import numpy as np
import pytest

from data_pipelines.buckets import bucket_lengths


def padding(lengths, buckets):
  bounds = np.array(buckets)
  return (bounds[np.searchsorted(bounds, lengths)] - lengths).sum()


@pytest.mark.parametrize("num_buckets", [1, 2, 4])
def test_none_waste_less(num_buckets):
  rng = np.random.default_rng(num_buckets)
  lengths = rng.integers(1, 60, 14) * 100
  chosen = bucket_lengths(lengths, num_buckets)
  assert len(chosen) == num_buckets and chosen[-1] == lengths.max()
  ends = np.unique(lengths)[:-1]
  best = min(
    padding(lengths, (*others, lengths.max()))
    for others in itertools.combinations(ends, num_buckets - 1)
  )
  assert padding(lengths, chosen) == best


def test_few_lengths_need_few_buckets():
  assert bucket_lengths([5, 7, 5], 8) == (5, 7)
  assert bucket_lengths([5], 1) == (5,)


def test_many_lengths():
  rng = np.random.default_rng(0)
  lengths = rng.integers(20_000, 260_000, 50_000)
  chosen = bucket_lengths(lengths, 8)
  assert len(chosen) == 8 and chosen[-1] == lengths.max()
  # Of evenly spread lengths, equal steps are the best.
  even = np.linspace(20_000, 260_000, 9)[1:]
  assert padding(lengths, chosen) < 1.01 * padding(lengths, even.astype(int))


@pytest.mark.parametrize(("lengths", "num"), [([], 8), ([3], 0)])
def test_nothing_to_choose(lengths, num):
  with pytest.raises(ValueError, match="expected at least 1"):
    bucket_lengths(lengths, num)
