"""Decibels and root mean squares."""

import jax.numpy as jnp

from jaxsep.dsp._precision import at_least_float32
from jaxsep.typing import Array, Float


def db_to_amplitude(
  level_db: Float[Array, "*shape"] | float | int,
) -> Float[Array, "*shape"]:
  """Amplitude of a level: `10 ** (level_db / 20)`.

  Args:
    level_db: Level in dB, any shape; -inf gives 0.

  Returns:
    Amplitude, same shape.

  Example:
    >>> print(f"{db_to_amplitude(20.0):.1f}")
    10.0
  """
  # exp2 is one operation and exact at 0 dB.
  return jnp.exp2(at_least_float32(level_db) * (jnp.log2(10.0) / 20.0))


def amplitude_to_db(
  amplitude: Float[Array, "*shape"] | float | int,
  *,
  floor_db: float | int = -120.0,
) -> Float[Array, "*shape"]:
  """Level of an amplitude: `20 log10 |amplitude|`.

  Args:
    amplitude: Amplitude, any shape; the sign is ignored.
    floor_db: Lowest level in dB: that of silence, where the gradient is zero.

  Returns:
    Level in dB, same shape.

  Example:
    >>> print(f"{amplitude_to_db(0.5):.2f}")
    -6.02
  """
  value = jnp.abs(at_least_float32(amplitude))
  # A floor too low for the type is raised inside the log only.
  floor = max(10.0 ** (floor_db / 20.0), jnp.finfo(value.dtype).tiny)
  level = 20.0 * jnp.log10(jnp.maximum(value, floor))
  # Not `value >= floor`, which would turn NaN into the floor.
  return jnp.where(value < floor, float(floor_db), level)


def rms(signal: Float[Array, "*batch time"]) -> Float[Array, "*batch"]:
  """Root mean square over time.

  Args:
    signal: Signal, shape `[..., T]`.

  Returns:
    Root mean square, shape `[...]`, float32 or better; 0 on silence, where the
    gradient is zero as well.

  Example:
    >>> print(rms(jnp.array([[3.0, -3.0], [0.0, 0.0]])))
    [3. 0.]
  """
  return _safe_sqrt(jnp.mean(jnp.square(at_least_float32(signal)), axis=-1))


def _safe_sqrt(value):
  """Square root whose gradient at zero is zero instead of infinite."""
  # Both branches of a `where` are differentiated. Without the inner one, an
  # infinite slope times zero would give NaN.
  positive = value > 0
  root = jnp.sqrt(jnp.where(positive, value, 1.0))
  # NaN is not positive, but must stay NaN.
  return jnp.where(positive, root, 0.0 * value)
