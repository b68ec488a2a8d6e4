import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from fast_bss_eval import torch as bss_eval
from jax.sharding import NamedSharding, PartitionSpec
from scipy import optimize

from jaxsep import losses


@functools.cache
def invariant(loss, **options):
  """The permutation-invariant loss, compiled: by steps it is slow to test."""
  return jax.jit(losses.permutation_invariant(loss, **options))


def sources(rng, shape, snr_db=5.0):
  """References, and estimates of them in the same order."""
  reference = rng.standard_normal(shape)
  estimate = reference + 10 ** (-snr_db / 20) * rng.standard_normal(shape)
  return estimate.astype(np.float32), reference.astype(np.float32)


def brute_force(loss, estimate, reference):
  """Every pair and every order, one call at a time."""
  num_sources = estimate.shape[1]
  compiled = jax.jit(loss)
  values, orders = [], []
  for e, r in zip(estimate, reference, strict=True):
    pairs = [
      [float(compiled(e[i], r[j])) for j in range(num_sources)]
      for i in range(num_sources)
    ]
    rows = optimize.linear_sum_assignment(np.array(pairs).T)[1]
    orders.append(rows)
    values.append(np.mean([pairs[rows[j]][j] for j in range(num_sources)]))
  return np.array(values), np.array(orders)


# Reference.


@pytest.mark.parametrize("loss", [losses.neg_si_snr, losses.neg_snr])
@pytest.mark.parametrize("num_sources", [1, 2, 6])
def test_against_every_pair_and_scipy(rng, loss, num_sources):
  # Bad estimates, so that the best order is not an obvious one.
  estimate, reference = sources(rng, (4, num_sources, 200), snr_db=-15.0)
  value, order = invariant(loss)(estimate, reference)
  expected_value, expected_order = brute_force(loss, estimate, reference)
  assert value.shape == (4,) and order.dtype == jnp.int32
  np.testing.assert_array_equal(order, expected_order)
  np.testing.assert_allclose(value, expected_value, rtol=1e-4, atol=1e-4)


def test_against_fast_bss_eval(rng):
  estimate, reference = sources(rng, (3, 3, 4000))
  estimate = estimate[:, [2, 0, 1]]
  expected, order = bss_eval.si_sdr(
    torch.tensor(reference).double(),
    torch.tensor(estimate).double(),
    return_perm=True,
  )
  value, got = invariant(losses.neg_si_sdr)(estimate, reference)
  np.testing.assert_array_equal(got, order)
  np.testing.assert_allclose(-value, expected.mean(-1), atol=1e-3)


# Law.


def test_every_order_comes_back(rng, num_sources=4):
  loss = losses.neg_snr
  orders = np.array(list(itertools.permutations(range(num_sources))))
  shape = (len(orders), num_sources, 300)
  aligned, reference = sources(rng, shape, snr_db=20.0)
  shuffled = np.take_along_axis(aligned, orders[..., None], axis=1)
  value, order = invariant(loss)(shuffled, reference)
  np.testing.assert_array_equal(losses.reorder(shuffled, order), aligned)
  expected = jnp.mean(loss(aligned, reference), axis=-1)
  np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_spectra(rng):
  magnitudes = np.abs(rng.standard_normal((2, 3, 7, 5))).astype(np.float32)
  loss = invariant(losses.magnitude_l2)
  value, order = loss(magnitudes[:, [1, 2, 0]], magnitudes)
  np.testing.assert_array_equal(order, [[2, 0, 1]] * 2)
  np.testing.assert_array_equal(value, [0.0, 0.0])


def test_a_loss_of_the_user_and_its_keywords(rng):
  def scaled(estimate, reference, *, weight):
    return weight * jnp.mean((estimate - reference) ** 2, axis=-1)

  estimate, reference = sources(rng, (2, 2, 30))
  loss = invariant(scaled)
  once, _ = loss(estimate, reference, weight=1.0)
  twice, _ = loss(estimate, reference, weight=2.0)
  np.testing.assert_allclose(twice, 2.0 * once, rtol=1e-6)


def test_one_example_and_more_batch_axes(rng):
  estimate, reference = sources(rng, (2, 3, 2, 50), snr_db=-10.0)
  value, order = invariant(losses.neg_snr, source_axis=2)(estimate, reference)
  assert value.shape == (2, 3) and order.shape == (2, 3, 2)
  single = invariant(losses.neg_snr, source_axis=0)
  for index in np.ndindex(2, 3):
    one_value, one_order = single(estimate[index], reference[index])
    np.testing.assert_allclose(one_value, value[index], rtol=1e-5)
    np.testing.assert_array_equal(one_order, order[index])


# Edge.


@pytest.mark.parametrize("case", ["silence", "exact", "silent_source", "equal"])
def test_value_and_gradient_are_finite(rng, case):
  loss = losses.neg_si_snr
  estimate, reference = sources(rng, (2, 3, 100))
  if case == "silence":
    estimate = reference = np.zeros_like(reference)
  if case == "exact":
    estimate = reference
  if case == "silent_source":
    reference[:, 1] = 0.0
  if case == "equal":
    estimate[:] = estimate[:, :1]

  @jax.jit
  @jax.value_and_grad
  def total(estimate):
    return jnp.sum(losses.permutation_invariant(loss)(estimate, reference)[0])

  value, slope = total(estimate)
  assert np.isfinite(value)
  assert np.all(np.isfinite(slope))


@pytest.mark.parametrize("num_sources", [2, 7])
def test_nan_ends_and_is_seen_in_its_example_only(rng, num_sources):
  estimate, reference = sources(rng, (3, num_sources, 100), snr_db=20.0)
  estimate[1, 0, 7] = np.nan
  value, order = invariant(losses.neg_si_snr)(estimate, reference)
  np.testing.assert_array_equal(np.isnan(value), [False, True, False])
  np.testing.assert_array_equal(order, [np.arange(num_sources)] * 3)


# Transform.


@pytest.mark.parametrize("num_sources", [2, 6])
def test_jit_and_vmap(rng, num_sources):
  estimate, reference = sources(rng, (4, num_sources, 60), snr_db=-5.0)
  # Step by step, then compiled and batched.
  expected = losses.permutation_invariant(losses.neg_snr)(estimate, reference)
  single = losses.permutation_invariant(losses.neg_snr, source_axis=0)
  for loss in (
    jax.jit(losses.permutation_invariant(losses.neg_snr)),
    jax.jit(jax.vmap(single)),
  ):
    value, order = loss(estimate, reference)
    np.testing.assert_allclose(value, expected[0], rtol=1e-5)
    np.testing.assert_array_equal(order, expected[1])


def test_the_gradient_is_that_of_the_best_order(rng):
  estimate, reference = sources(rng, (2, 3, 40))
  shuffled = estimate[:, [1, 2, 0]]

  def any_order(estimate):
    loss = losses.permutation_invariant(losses.neg_si_snr)
    return jnp.sum(loss(estimate, reference)[0])

  def aligned(estimate):
    return jnp.sum(losses.neg_si_snr(estimate, reference)) / 3

  got = jax.jit(jax.grad(any_order))(shuffled)
  expected = jax.jit(jax.grad(aligned))(estimate)[:, np.array([1, 2, 0])]
  np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_sharded_over_devices_equals_unsharded(rng):
  estimate, reference = sources(rng, (16, 3, 200), snr_db=-5.0)
  mesh = jax.make_mesh(
    (8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,)
  )
  sharding = NamedSharding(mesh, PartitionSpec("data"))

  @jax.jit
  def step(estimate, reference):
    def mean(estimate):
      loss = losses.permutation_invariant(losses.neg_si_snr)
      value, order = loss(estimate, reference)
      return jnp.mean(value), (value, order)

    return jax.value_and_grad(mean, has_aux=True)(estimate)

  (expected, (values, orders)), slopes = step(estimate, reference)
  placed = jax.device_put((estimate, reference), sharding)
  (mean, (got_values, got_orders)), got_slopes = step(*placed)
  assert len(got_values.sharding.device_set) == 8
  assert not got_slopes.sharding.is_fully_replicated
  np.testing.assert_allclose(mean, expected, rtol=1e-5)
  np.testing.assert_allclose(got_values, values, rtol=1e-5)
  np.testing.assert_array_equal(got_orders, orders)
  np.testing.assert_allclose(got_slopes, slopes, rtol=1e-4, atol=1e-6)


# Failure.


def test_bad_shapes_are_named(unchecked):
  loss = losses.permutation_invariant(losses.neg_snr)
  with pytest.raises(
    ValueError, match=r"\(1, 2, 9\) and reference \(1, 3, 9\)"
  ):
    loss(jnp.ones((1, 2, 9)), jnp.ones((1, 3, 9)))
  with pytest.raises(ValueError, match=r"\(2, 9\) has no axis for the sources"):
    loss(jnp.ones((2, 9)), jnp.ones((2, 9)))


def test_a_reduced_loss_is_refused():
  def reduced(estimate, reference):
    return jnp.mean(losses.neg_snr(estimate, reference))

  signals = jnp.ones((4, 2, 9))
  with pytest.raises(ValueError, match=r"one value per example, \(4,\), but"):
    losses.permutation_invariant(reduced)(signals, signals)
