import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from jaxsep import dsp


# Up to 5 sources all permutations are tried; beyond, the method is Hungarian.
@pytest.mark.parametrize("num_sources", [1, 2, 5, 6, 16])
def test_against_scipy(rng, num_sources):
  shape = (2, 20, num_sources, num_sources)
  cost = rng.standard_normal(shape).astype(np.float32)
  got = np.asarray(dsp.best_permutation(cost))
  assert got.dtype == np.int32 and got.shape == shape[:-1]
  for index in np.ndindex(2, 20):
    # SciPy gives the column of each row; ours is the row of each column.
    expected = np.argsort(optimize.linear_sum_assignment(cost[index])[1])
    np.testing.assert_array_equal(got[index], expected)


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


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 4, 5), (3, 5), (2, 3)])
def test_reorder_takes_sources_from_the_axis_of_the_permutation(rng, shape):
  batch = (2,) if shape[0] == 2 else ()
  estimate = rng.standard_normal(shape).astype(np.float32)
  permutation = np.broadcast_to(np.array([2, 0, 1], np.int32), (*batch, 3))
  expected = np.take(estimate, [2, 0, 1], axis=len(batch))
  np.testing.assert_array_equal(dsp.reorder(estimate, permutation), expected)


def test_of_equal_costs_the_first_order_wins():
  order = dsp.best_permutation(jnp.ones((4, 4)))
  np.testing.assert_array_equal(order, [0, 1, 2, 3])


@pytest.mark.parametrize("num_sources", [4, 6])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_costs_leave_the_other_pairs_assigned_well(bad, num_sources):
  cost = np.ones((num_sources, num_sources), np.float32)
  wanted = np.roll(np.arange(num_sources), -2)
  cost[wanted, np.arange(num_sources)] = 0.0
  cost[1] = bad
  np.testing.assert_array_equal(dsp.best_permutation(cost), wanted)


@pytest.mark.parametrize("num_sources", [4, 6])
@pytest.mark.parametrize("rows", [slice(None), slice(0, 2)])
def test_any_cost_gives_a_permutation(rows, num_sources):
  for value in (0.0, 1e-40, 3e38, np.nan, np.inf, -np.inf):
    cost = np.eye(num_sources, dtype=np.float32)
    cost[rows] = value
    order = np.asarray(dsp.best_permutation(cost))
    assert sorted(order.tolist()) == list(range(num_sources))


@pytest.mark.parametrize("num_sources", [4, 6])
def test_assignment_under_jit_and_vmap(rng, num_sources):
  cost = rng.standard_normal((2, num_sources, num_sources)).astype(np.float32)
  got = jax.jit(jax.vmap(dsp.best_permutation))(cost)
  np.testing.assert_array_equal(got, dsp.best_permutation(cost))


def test_no_gradient_through_the_assignment():
  def picked(cost):
    return jnp.sum(cost * dsp.best_permutation(cost)[:, None])

  slope = jax.grad(picked)(jnp.eye(2))
  np.testing.assert_array_equal(slope, [[1.0, 1.0], [0.0, 0.0]])


def test_bad_shapes_are_named(unchecked):
  for shape in ((2, 3), (3,)):
    with pytest.raises(ValueError, match="cost"):
      dsp.best_permutation(jnp.ones(shape))
  with pytest.raises(ValueError, match=r"permutation \(3,\) must have"):
    dsp.reorder(jnp.ones((2, 5)), jnp.arange(3))
