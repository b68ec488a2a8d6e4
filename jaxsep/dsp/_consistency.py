"""Estimates that add up to their mixture."""

import jax.numpy as jnp

from jaxsep.dsp._precision import at_least_float32
from jaxsep.typing import Array, Float


def mixture_consistency(
  estimate: Float[Array, "*batch sources time"],
  mixture: Float[Array, "*batch time"],
  *,
  weights: Float[Array, "*batch sources"] | None = None,
) -> Float[Array, "*batch sources time"]:
  """Makes the estimates sum to the mixture with the smallest change.

  Args:
    estimate: Separated signals, shape `[..., S, T]`.
    mixture: What they should add up to, shape `[..., T]`.
    weights: Share of the error that each source takes, shape `[..., S]`, not
      negative; only their proportions matter. None gives equal shares, the
      least-squares projection. With the energies of the estimates as weights,
      silent sources stay silent.

  Returns:
    Consistent estimates, same shape and type.

  Raises:
    ValueError: If the shapes do not fit.

  References:
    Wisdom et al., Differentiable consistency constraints for improved deep
    speech enhancement, 2019, eq. (7).

  Example:
    >>> estimate = jnp.array([[1.0, 1.0], [0.0, 0.0]])
    >>> print(mixture_consistency(estimate, jnp.array([2.0, 1.0])))
    [[1.5 1. ]
     [0.5 0. ]]
  """
  dtype = jnp.result_type(estimate)
  estimate, mixture = at_least_float32(estimate), at_least_float32(mixture)
  if estimate.shape[:-2] + estimate.shape[-1:] != mixture.shape:
    raise ValueError(
      f"estimate {estimate.shape} must be [..., sources, time] and mixture"
      f" {mixture.shape} the same without sources"
    )
  error = mixture - jnp.sum(estimate, axis=-2)
  if weights is None:
    share = error[..., None, :] / estimate.shape[-2]
    return (estimate + share).astype(dtype)
  weights = at_least_float32(weights)
  if weights.shape != estimate.shape[:-1]:
    raise ValueError(
      f"weights {weights.shape} must have one value for each source of"
      f" estimate {estimate.shape}: {estimate.shape[:-1]}"
    )
  total = jnp.sum(weights, axis=-1, keepdims=True)
  # If all weights are zero, the shares are equal.
  none = total == 0
  weights = jnp.where(
    none, 1.0 / estimate.shape[-2], weights / jnp.where(none, 1.0, total)
  )
  share = weights[..., None] * error[..., None, :]
  return (estimate + share).astype(dtype)
