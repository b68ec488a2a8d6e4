import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from jaxsep import dsp


def assert_permutation(permutation, num_sources):
  assert sorted(np.asarray(permutation).tolist()) == list(range(num_sources))


# Reference.


# Up to 5 sources all permutations are tried; beyond, the method is Hungarian.
@pytest.mark.parametrize("num_sources", [1, 2, 5, 6, 16])
def test_against_scipy(rng, num_sources):
  cost = rng.standard_normal((40, num_sources, num_sources)).astype(np.float32)
  got = np.asarray(dsp.best_permutation(cost))
  assert got.dtype == np.int32
  for matrix, permutation in zip(cost, got, strict=True):
    # SciPy gives the column of each row; ours is the row of each column.
    expected = np.argsort(optimize.linear_sum_assignment(matrix)[1])
    np.testing.assert_array_equal(permutation, expected)


# Law.


@pytest.mark.parametrize("num_sources", [4, 6])
def test_finds_and_undoes_every_permutation(rng, num_sources):
  reference = rng.standard_normal((num_sources, 20)).astype(np.float32)
  orders = np.array(list(itertools.permutations(range(num_sources))))
  estimate = reference[orders]
  error = estimate[:, :, None] - reference[None, None]
  cost = np.square(error).sum(-1)
  permutation = dsp.best_permutation(cost)
  np.testing.assert_array_equal(permutation, np.argsort(orders, axis=-1))
  np.testing.assert_array_equal(
    dsp.reorder(estimate, permutation),
    np.broadcast_to(reference, estimate.shape),
  )


def test_each_matrix_of_a_batch_has_its_own_assignment(rng):
  cost = rng.standard_normal((2, 3, 6, 6)).astype(np.float32)
  stacked = np.asarray(dsp.best_permutation(cost))
  assert stacked.shape == (2, 3, 6)
  for index in np.ndindex(2, 3):
    expected = np.argsort(optimize.linear_sum_assignment(cost[index])[1])
    np.testing.assert_array_equal(stacked[index], expected)


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 4, 5), (3, 5), (2, 3)])
def test_reorder_takes_sources_from_the_axis_of_the_permutation(rng, shape):
  batch = (2,) if shape[0] == 2 else ()
  estimate = rng.standard_normal(shape).astype(np.float32)
  permutation = np.broadcast_to(np.array([2, 0, 1], np.int32), (*batch, 3))
  expected = np.take(estimate, [2, 0, 1], axis=len(batch))
  np.testing.assert_array_equal(dsp.reorder(estimate, permutation), expected)


# Edge.


@pytest.mark.parametrize("num_sources", [4, 6])
def test_equal_costs_give_a_permutation(num_sources):
  for value in (0.0, 3.0, 1e-40):
    cost = np.full((num_sources, num_sources), value, np.float32)
    assert_permutation(dsp.best_permutation(cost), num_sources)
  order = dsp.best_permutation(jnp.zeros((3, 3)))
  np.testing.assert_array_equal(order, [0, 1, 2])


@pytest.mark.parametrize("num_sources", [4, 6])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_costs_that_are_no_numbers_end_and_spare_the_rest(bad, num_sources):
  cost = np.ones((num_sources, num_sources), np.float32)
  wanted = np.roll(np.arange(num_sources), -2)
  cost[wanted, np.arange(num_sources)] = 0.0
  cost[1] = bad
  np.testing.assert_array_equal(dsp.best_permutation(cost), wanted)


@pytest.mark.parametrize("num_sources", [4, 6])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("rows", [slice(None), slice(0, 2)])
def test_any_cost_gives_a_permutation(bad, rows, num_sources):
  cost = np.eye(num_sources, dtype=np.float32)
  cost[rows] = bad
  assert_permutation(dsp.best_permutation(cost), num_sources)


# Transform.


@pytest.mark.parametrize("num_sources", [3, 6])
def test_assignment_under_jit_and_vmap(rng, num_sources):
  cost = rng.standard_normal((5, num_sources, num_sources)).astype(np.float32)
  expected = dsp.best_permutation(cost)
  for transform in (jax.jit, jax.vmap):
    np.testing.assert_array_equal(
      transform(dsp.best_permutation)(cost), expected
    )


def test_no_gradient_through_the_assignment():
  def picked(cost):
    return jnp.sum(cost * dsp.best_permutation(cost)[:, None])

  slope = jax.grad(picked)(jnp.eye(2))
  np.testing.assert_array_equal(slope, [[1.0, 1.0], [0.0, 0.0]])


# Failure.


def test_bad_shapes_are_named(unchecked):
  with pytest.raises(ValueError, match=r"cost \(2, 3\) must be"):
    dsp.best_permutation(jnp.ones((2, 3)))
  with pytest.raises(ValueError, match=r"cost \(3,\) must be"):
    dsp.best_permutation(jnp.ones(3))
  with pytest.raises(ValueError, match=r"permutation \(3,\) must be shaped"):
    dsp.reorder(jnp.ones((2, 5)), jnp.arange(3))
