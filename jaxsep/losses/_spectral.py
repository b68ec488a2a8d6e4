"""Losses on spectra."""

import jax.numpy as jnp

from jaxsep.dsp import at_least_float32
from jaxsep.typing import Array, Float, Inexact, Int


def magnitude_l2(
  estimate: Inexact[Array, "*batch frames bins"],
  reference: Inexact[Array, "*batch frames bins"],
  *,
  num_frames: Int[Array, "*batch"] | None = None,
) -> Float[Array, "*batch"]:
  """Mean squared difference of two magnitude spectra.

  Phases are ignored. Both spectra are complex or are magnitudes already.

  Args:
    estimate: Separated spectrum, shape `[..., N, F]`.
    reference: Target spectrum, same shape.
    num_frames: Valid frames of each, shape `[...]`; None counts all.

  Returns:
    Loss, shape `[...]`, float32 or better: the mean over frames and bins.

  Raises:
    ValueError: If the two shapes differ or there are no frames or bins.

  Example:
    >>> estimate = jnp.array([[1.0 + 0.0j, 1.0j]])
    >>> print(magnitude_l2(estimate, jnp.array([[1.0, 3.0]])))
    2.0
  """
  estimate, reference = _checked(estimate, reference)
  error = jnp.abs(estimate) - jnp.abs(reference)
  return _mean(error * error, num_frames)


def complex_l2(
  estimate: Inexact[Array, "*batch frames bins"],
  reference: Inexact[Array, "*batch frames bins"],
  *,
  num_frames: Int[Array, "*batch"] | None = None,
) -> Float[Array, "*batch"]:
  """Mean squared distance of two complex spectra: magnitudes and phases.

  Args:
    estimate: Separated spectrum, shape `[..., N, F]`.
    reference: Target spectrum, same shape.
    num_frames: Valid frames of each, shape `[...]`; None counts all.

  Returns:
    Loss, shape `[...]`: the mean over frames and bins.

  Example:
    >>> estimate = jnp.array([[1.0 + 0.0j, 1.0j]])
    >>> print(complex_l2(estimate, jnp.array([[1.0, 1.0]])))
    1.0
  """
  estimate, reference = _checked(estimate, reference)
  error = estimate - reference
  # Not the square of the absolute value, which has no slope where it is zero.
  power = jnp.square(jnp.real(error)) + jnp.square(jnp.imag(error))
  return _mean(power, num_frames)


def _mean(values, num_frames):
  """Mean over frames and bins, of the valid frames if they are known."""
  if num_frames is None:
    return jnp.mean(values, axis=(-2, -1))
  num_frames = jnp.asarray(num_frames)
  frames = jnp.mean(values, axis=-1)
  places = jnp.arange(frames.shape[-1])
  valid = places.reshape((1,) * num_frames.ndim + (-1,)) < num_frames[..., None]
  total = jnp.sum(jnp.where(valid, frames, 0.0), axis=-1)
  return total / jnp.maximum(num_frames, 1)


def _checked(estimate, reference):
  """Both spectra in float32 or better, of one shape."""
  estimate, reference = at_least_float32(estimate), at_least_float32(reference)
  if estimate.shape != reference.shape or estimate.ndim < 2:
    raise ValueError(
      f"estimate {estimate.shape} and reference {reference.shape} must have"
      " the same shape [..., frames, bins]"
    )
  if 0 in estimate.shape[-2:]:
    raise ValueError(f"spectra {estimate.shape} have no frames or no bins")
  return estimate, reference
