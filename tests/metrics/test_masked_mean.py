"""The mean that leaves padding out and merges."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, PartitionSpec

from jaxsep.metrics import MaskedMean


def merged(parts):
  return functools.reduce(MaskedMean.merge, parts, MaskedMean.empty())


# Reference.


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 7))
def test_batches_give_the_mean_of_the_whole(seed, num_batches, size):
  rng = np.random.default_rng(seed)
  values = rng.normal(10, 5, (num_batches, size)).astype(np.float32)
  mask = rng.random((num_batches, size)) < 0.7
  mask[0, 0] = True
  values[~mask] = rng.choice([np.nan, np.inf, 1e30], np.sum(~mask))
  mean = merged(map(MaskedMean.from_values, values, mask))
  assert mean.count == mask.sum()
  np.testing.assert_allclose(
    mean.compute(), values[mask].mean(dtype=np.float64), rtol=1e-6
  )


def test_many_merges_stay_exact():
  value, rows = np.float32(0.1), 200_000
  one = MaskedMean.from_values(jnp.full((1,), value))

  def step(carry, _):
    plain, mean = carry
    return (plain + value, mean.merge(one)), None

  start = jnp.float32(0), MaskedMean.empty()
  (plain, mean), _ = jax.lax.scan(step, start, length=rows)
  assert mean.count == rows
  np.testing.assert_allclose(mean.compute(), value, rtol=1e-7)
  # What it guards against.
  assert abs(plain / rows - value) > 1e-5


# Law.


def test_order_of_merging_does_not_matter():
  parts = [MaskedMean.from_values(jnp.full((n,), n * 1.0)) for n in (1, 2, 3)]
  forward, backward = merged(parts).compute(), merged(parts[::-1]).compute()
  np.testing.assert_allclose(forward, backward)
  np.testing.assert_allclose(forward, (1 + 4 + 9) / 6)


def test_mask_of_the_first_axes():
  values = jnp.array([[1.0, 3.0], [jnp.nan, 100.0]])
  mean = MaskedMean.from_values(values, jnp.array([True, False]))
  assert mean.count == 2
  assert mean.compute() == 2.0


# Edge.


def test_nothing_is_nan_and_neutral():
  empty = MaskedMean.empty()
  assert np.isnan(empty.compute())
  none = MaskedMean.from_values(jnp.array([jnp.nan]), jnp.array([False]))
  assert np.isnan(none.compute())
  some = MaskedMean.from_values(jnp.array([2.0]))
  assert empty.merge(some).merge(none).compute() == 2.0


def test_a_kept_nan_shows():
  values = jnp.array([1.0, jnp.nan])
  mean = MaskedMean.from_values(values).merge(MaskedMean.empty())
  assert np.isnan(mean.compute())
  infinite = MaskedMean.from_values(jnp.array([jnp.inf]))
  assert np.isinf(infinite.merge(infinite).compute())


def test_integers_and_bfloat16_are_summed_in_float32():
  for dtype in (jnp.int32, jnp.bfloat16):
    mean = MaskedMean.from_values(jnp.full((1000,), 1, dtype))
    assert mean.total.dtype == jnp.float32
    assert mean.compute() == 1.0


# Transform.


def test_sums_over_devices_as_it_merges():
  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  values = jnp.arange(16.0).at[3].set(jnp.nan)
  mask = jnp.ones(16, bool).at[3].set(False)

  @functools.partial(
    jax.shard_map,
    mesh=mesh,
    in_specs=PartitionSpec("data"),
    out_specs=PartitionSpec(),
  )
  def over_devices(values, mask):
    return jax.lax.psum(MaskedMean.from_values(values, mask), "data")

  mean = jax.jit(over_devices)(values, mask)
  assert mean.count == 15
  np.testing.assert_allclose(mean.compute(), (120 - 3) / 15, rtol=1e-6)


# Failure.


def test_mask_must_fit():
  with pytest.raises(ValueError, match=r"mask \(3,\).*values \(2,\)"):
    MaskedMean.from_values(jnp.ones(2), jnp.ones(3, bool))
