"""Decibels, root mean squares and the gain that makes a given SNR."""

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
  # exp2 rather than a power: one operation, and exact at 0 dB.
  return jnp.exp2(at_least_float32(level_db) * (jnp.log2(10.0) / 20.0))


def amplitude_to_db(
  amplitude: Float[Array, "*shape"] | float | int,
  *,
  floor_db: float | int = -120.0,
) -> Float[Array, "*shape"]:
  """Level of an amplitude: `20 log10 |amplitude|`.

  Args:
    amplitude: Amplitude, any shape; the sign is ignored.
    floor_db: Lowest level returned, in dB; silence has this level and gradient
      zero.

  Returns:
    Level in dB, same shape.

  Example:
    >>> print(f"{amplitude_to_db(0.5):.2f}")
    -6.02
  """
  return _level(jnp.abs(at_least_float32(amplitude)), 20.0, floor_db)


def power_to_db(
  power: Float[Array, "*shape"] | float | int, *, floor_db: float | int = -120.0
) -> Float[Array, "*shape"]:
  """Level of a power: `10 log10(power)`.

  Args:
    power: Power, any shape, not negative.
    floor_db: Lowest level returned, in dB; zero power has this level and
      gradient zero.

  Returns:
    Level in dB, same shape.

  Example:
    >>> print(f"{power_to_db(100.0):.1f}")
    20.0
  """
  return _level(at_least_float32(power), 10.0, floor_db)


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


def gain_for_snr(
  signal: Float[Array, "*batch time"],
  noise: Float[Array, "*batch noise_time"],
  *,
  snr_db: Float[Array, "*batch"] | float | int,
) -> Float[Array, "*batch"]:
  """Gain for the noise that puts the signal `snr_db` above it.

  Levels are root mean squares over the whole of each array, so zeros that pad
  one of them count.

  Args:
    signal: Signal, shape `[..., T]`.
    noise: Noise, shape `[..., U]`; its length may differ.
    snr_db: Wanted ratio in dB, a number or shape `[...]`.

  Returns:
    Gain, shape `[...]`. 0 where the signal or the noise is silent, as no gain
    makes a ratio there.

  Example:
    >>> signal, noise = jnp.ones((100,)), 0.1 * jnp.ones((100,))
    >>> print(f"{gain_for_snr(signal, noise, snr_db=20.0):.2f}")
    1.00
  """
  signal_rms, noise_rms = rms(signal), rms(noise)
  silent = noise_rms == 0
  ratio = signal_rms / jnp.where(silent, 1.0, noise_rms)
  gain = ratio * db_to_amplitude(-at_least_float32(snr_db))
  return jnp.where(silent, 0.0, gain)


def _level(value, scale, floor_db):
  """`scale log10(value)`, at least `floor_db`."""
  # A very low floor has no number: there the log is kept from zero, and what
  # lies below has the floor itself.
  floor = max(10.0 ** (floor_db / scale), jnp.finfo(value.dtype).tiny)
  level = scale * jnp.log10(jnp.maximum(value, floor))
  # Not the other way round: NaN is not below.
  return jnp.where(value < floor, float(floor_db), level)


def _safe_sqrt(value):
  """Square root whose gradient at zero is zero instead of infinite."""
  # Both branches of a `where` are differentiated: the inner one keeps the
  # infinite slope from meeting a zero cotangent and making a NaN.
  positive = value > 0
  root = jnp.sqrt(jnp.where(positive, value, 1.0))
  # NaN is not positive, and must not become silence.
  return jnp.where(positive, root, 0.0 * value)
