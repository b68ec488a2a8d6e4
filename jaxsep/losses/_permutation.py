"""Losses that let the estimates come in any order."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxsep.dsp import best_permutation, reorder
from jaxsep.typing import Array, Float, Inexact, Int

#: What compares one estimate with one reference, batched or not.
Loss = Callable[..., Array]

#: What returns the loss of the best order, and that order.
OrderedLoss = Callable[..., tuple[Array, Array]]


def permutation_invariant(loss: Loss, *, source_axis: int = 1) -> OrderedLoss:
  """Makes a loss that takes the best order of the estimates, per example.

  Args:
    loss: Compares estimates `[B, ...]` with references `[B, ...]` and returns
      one value per example, `[B]`. Any of this package, or your own.
    source_axis: Where the sources are; all axes before are the batch. 0 makes
      a loss of a single example.

  Returns:
    A function of `(estimate [B, S, ...], reference [B, S, ...])`, with further
    keywords passed on to `loss`. It returns the pair `(loss, permutation)`:
    the mean over the sources of the best order, shape `[B]`, and that order,
    int32 of shape `[B, S]`, where `permutation[b, j]` is the estimate that
    belongs to reference j (see `reorder`). Gradients flow through the pairs of
    the best order only.

  Raises:
    ValueError: If the shapes differ, have no source axis, or `loss` does not
      return one value per example.

  References:
    Kolbaek et al., Multitalker speech separation with utterance-level
    permutation invariant training of deep recurrent neural networks, 2017.

  Example:
    >>> from jaxsep.losses import neg_snr
    >>> reference = jnp.eye(2)[None]
    >>> value, order = permutation_invariant(neg_snr)(
    ...     reference[:, ::-1], reference)
    >>> print(value, order)
    [-80.] [[1 0]]
  """

  def permuted(
    estimate: Inexact[Array, "..."], reference: Inexact[Array, "..."], **options
  ) -> tuple[Float[Array, "*batch"], Int[Array, "*batch sources"]]:
    estimate, reference = jnp.asarray(estimate), jnp.asarray(reference)
    _check(estimate, reference, source_axis)
    batch = estimate.shape[:source_axis]
    pair = functools.partial(loss, **options)
    # Each pair by itself, so that the loss need not know about sources; what
    # depends on one of the two alone is still computed once.
    fixed = jax.lax.stop_gradient((estimate, reference))
    against_all = jax.vmap(pair, (None, source_axis), -1)
    cost = jax.vmap(against_all, (source_axis, None), -2)(*fixed)
    if cost.shape != batch + 2 * estimate.shape[source_axis : source_axis + 1]:
      raise ValueError(
        f"the loss must return one value per example, {batch}, but returned"
        f" {cost.shape[:-2]}"
      )
    permutation = best_permutation(cost)
    # Once more for the S pairs that count: cheaper than to differentiate all
    # S * S of them.
    estimate = reorder(estimate, permutation)
    aligned = jax.vmap(pair, source_axis, -1)(estimate, reference)
    return jnp.mean(aligned, axis=-1), permutation

  return permuted


def _check(estimate, reference, source_axis):
  """Refuses shapes that do not pair up."""
  if estimate.shape != reference.shape:
    raise ValueError(
      f"estimate {estimate.shape} and reference {reference.shape} must have"
      " the same shape, with as many estimates as references"
    )
  if estimate.ndim < source_axis + 2:
    raise ValueError(
      f"estimate {estimate.shape} has no axis for the sources at"
      f" {source_axis} with the signals behind it"
    )
