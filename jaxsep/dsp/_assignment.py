"""Which estimate belongs to which reference."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from optax import assignment

from jaxsep.dsp._precision import at_least_float32
from jaxsep.typing import Array, Float, Inexact, Int

# Up to this number of sources all permutations are tried: 120 sums of 5.
_FEW = 5


def best_permutation(
  cost: Float[Array, "*batch sources sources"],
) -> Int[Array, "*batch sources"]:
  """The assignment of estimates to references with the smallest total cost.

  Up to 5 sources all S! permutations are tried; with more, the Hungarian method
  finds the best one. The result carries no gradient. NaN and inf count as the
  worst cost, so the other pairs are still assigned well.

  Args:
    cost: Cost of estimate i for reference j at `[..., i, j]`, shape
      `[..., S, S]`.

  Returns:
    `permutation[..., j]`, the estimate that belongs to reference j, int32 of
    shape `[..., S]`. Up to 5 sources, the first in lexical order wins a tie.

  Raises:
    ValueError: If the last two axes differ.

  Example:
    >>> print(best_permutation(jnp.array([[5.0, 1.0], [0.0, 5.0]])))
    [1 0]
  """
  cost = jax.lax.stop_gradient(jnp.asarray(cost))
  if cost.ndim < 2 or cost.shape[-1] != cost.shape[-2] or not cost.shape[-1]:
    raise ValueError(
      f"cost {cost.shape} must be [..., sources, sources]: as many estimates"
      " as references"
    )
  few = cost.shape[-1] <= _FEW
  cost = _bounded(at_least_float32(cost))
  return (_try_all if few else _hungarian)(cost)


def _bounded(cost):
  """Costs within [-1, 1], with NaN and inf as a cost above all others."""
  # The Hungarian method does not end on NaN, and sums of large costs overflow.
  num_sources = cost.shape[-1]
  finite = jnp.isfinite(cost)
  size = jnp.max(
    jnp.abs(jnp.where(finite, cost, 0.0)), axis=(-2, -1), keepdims=True
  )
  scaled = cost / jnp.where(size > 0, size, 1.0)
  worst = 2.0 * num_sources + 1.0
  outside = jnp.where(jnp.isneginf(cost), -worst, worst)
  return jnp.where(finite, scaled, outside)


def _try_all(cost):
  """All permutations side by side; they are sorted, the identity first."""
  num_sources = cost.shape[-1]
  orders = np.array(
    list(itertools.permutations(range(num_sources))), dtype=np.int32
  )
  picked = cost[..., orders, np.arange(num_sources)]
  best = jnp.argmin(jnp.sum(picked, axis=-1), axis=-1)
  return jnp.asarray(orders)[best]


# Compiled even if the caller is not: its loops would be traced in every call.
@jax.jit
def _hungarian(cost):
  """The Hungarian method, batched."""

  def solve(matrix):
    rows, columns = assignment.hungarian_algorithm(matrix)
    order = jnp.zeros(matrix.shape[-1], jnp.int32)
    return order.at[columns].set(rows.astype(jnp.int32))

  batch, num_sources = cost.shape[:-2], cost.shape[-1]
  flat = jax.vmap(solve)(cost.reshape(-1, num_sources, num_sources))
  return flat.reshape(*batch, num_sources)


def reorder(
  estimate: Inexact[Array, "..."], permutation: Int[Array, "*batch sources"]
) -> Inexact[Array, "..."]:
  """Puts the estimates in the order of their references.

  Args:
    estimate: Separated signals or spectra, shape `[..., S, ...]`.
    permutation: The estimate that belongs to each reference, shape `[..., S]`.

  Returns:
    `estimate` with its source axis reordered, same shape.

  Raises:
    ValueError: If the shape of `permutation` is not the start of that of
      `estimate`.

  Example:
    >>> print(reorder(jnp.array([[1.0], [2.0]]), jnp.array([1, 0])))
    [[2.]
     [1.]]
  """
  estimate, permutation = jnp.asarray(estimate), jnp.asarray(permutation)
  axis = permutation.ndim - 1
  if axis < 0 or estimate.shape[: axis + 1] != permutation.shape:
    raise ValueError(
      f"permutation {permutation.shape} must have the first axes of estimate"
      f" {estimate.shape}, up to the sources"
    )
  rest = (1,) * (estimate.ndim - permutation.ndim)
  index = permutation.reshape(permutation.shape + rest)
  return jnp.take_along_axis(estimate, index, axis=axis)
