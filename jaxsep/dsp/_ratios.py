"""The projection and the energy ratios that losses and metrics share."""

import jax.numpy as jnp

from jaxsep.dsp._precision import at_least_float32
from jaxsep.typing import Array, Float, Int


def projection(
  estimate: Float[Array, "*batch time"],
  reference: Float[Array, "*batch time"],
  *,
  eps: float = 1e-8,
) -> Float[Array, "*batch time"]:
  """The part of the estimate that is a scaled copy of the reference.

  Args:
    estimate: Separated signal, shape `[..., T]`.
    reference: Target signal, same shape.
    eps: Power added to the energy of the reference, so that the projection on
      silence is silence.

  Returns:
    `<estimate, reference> / (|reference|^2 + eps) * reference`, shape
    `[..., T]`, in float32 or better.

  Raises:
    ValueError: If the two shapes differ.

  References:
    Le Roux et al., SDR - half-baked or well done?, 2019, eq. (3).

  Example:
    >>> print(projection(jnp.array([2.0, 5.0]), jnp.array([1.0, 0.0])))
    [2. 0.]
  """
  estimate, reference = paired(estimate, reference)
  power = energy(reference)
  scale = jnp.sum(estimate * reference, axis=-1) / (power + eps)
  return scale[..., None] * reference


def power_ratio_db(
  signal_power: Float[Array, "*shape"],
  noise_power: Float[Array, "*shape"],
  *,
  eps: float = 1e-8,
) -> Float[Array, "*shape"]:
  """Ratio of two powers in dB, finite where either is zero.

  Args:
    signal_power: Power (or energy) of the numerator, any shape.
    noise_power: Power (or energy) of the denominator, same shape.
    eps: Added to both; bounds value and gradient on silence.

  Returns:
    `10 log10((signal_power + eps) / (noise_power + eps))`, same shape.

  Example:
    >>> ratio = power_ratio_db(jnp.array([100.0, 0.0]), jnp.array([1.0, 0.0]))
    >>> print(ratio.round(3))
    [20.  0.]
  """
  # The quotient itself can overflow in float32.
  return 10.0 * (jnp.log10(signal_power + eps) - jnp.log10(noise_power + eps))


def energy(signal: Float[Array, "*batch time"]) -> Float[Array, "*batch"]:
  """Sum of squares over time.

  Args:
    signal: Signal, shape `[..., T]`.

  Returns:
    Energy, shape `[...]`, in float32 or better.

  Example:
    >>> print(energy(jnp.array([3.0, 4.0])))
    25.0
  """
  signal = at_least_float32(signal)
  return jnp.sum(signal * signal, axis=-1)


def centered(
  signal: Float[Array, "*batch time"],
  length: Int[Array, "..."] | None = None,
) -> Float[Array, "*batch time"]:
  """The signal minus its mean over time.

  Args:
    signal: Signal, shape `[..., T]`.
    length: Valid samples, of a shape that broadcasts to `[...]`; the mean is
      theirs, and the result is zero past them. None takes all T.

  Returns:
    Zero-mean signal, shape `[..., T]`, in float32 or better.

  Example:
    >>> print(centered(jnp.array([1.0, 3.0])))
    [-1.  1.]
  """
  signal = at_least_float32(signal)
  if length is None:
    return signal - jnp.mean(signal, axis=-1, keepdims=True)
  length = jnp.asarray(length)
  length = length.reshape((1,) * (signal.ndim - 1 - length.ndim) + length.shape)
  places = jnp.arange(signal.shape[-1]).reshape((1,) * length.ndim + (-1,))
  valid = places < length[..., None]
  total = jnp.sum(jnp.where(valid, signal, 0.0), axis=-1, keepdims=True)
  mean = total / jnp.maximum(length[..., None], 1)
  return jnp.where(valid, signal - mean, 0.0)


def paired(estimate, reference):
  """Both signals in float32 or better, after a check of their shapes.

  Args:
    estimate: Separated signal, shape `[..., T]`.
    reference: Target signal, same shape.

  Returns:
    The pair `(estimate, reference)`.

  Raises:
    ValueError: If the shapes differ or have no time axis.

  Example:
    >>> estimate, reference = paired(jnp.ones(3), jnp.zeros(3))
  """
  estimate, reference = at_least_float32(estimate), at_least_float32(reference)
  if estimate.shape != reference.shape:
    raise ValueError(
      f"estimate {estimate.shape} and reference {reference.shape} must have"
      " the same shape; cut or pad one of them to the length of the other"
    )
  if not estimate.ndim:
    raise ValueError(
      "estimate and reference are numbers; they need a time axis"
    )
  return estimate, reference
