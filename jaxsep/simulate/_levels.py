"""Levels: of speakers against each other, of noise, and below clipping."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep import dsp
from jaxsep.typing import Array, Float

#: `(low, high)` of a uniform draw, or one number that stands for both.
Range = Sequence[float | int] | float | int

# 256 samples at 8 kHz.
_FRAME_S = 0.032
# How far below the mean a frame still counts: the margin of ITU-T P.56.
_MARGIN_DB = 15.9
# Frames 100 dB below the loudest one are silent.
_ROUNDING = 1e-10


def active_rms(
  signal: Float[Array, "*batch time"], *, sample_rate_hz: float | int
) -> Float[Array, "*batch"]:
  """Root mean square of the frames of 32 ms that are not pauses.

  Frames more than 15.9 dB below the mean power are pauses and do not count, so
  that a speaker who pauses is not made louder. A one-pass stand-in for the
  active speech level of ITU-T P.56, whose margin it takes. Silent frames are
  left out of that mean too: zeros that pad a signal change nothing.

  Args:
    signal: Signal, shape `[..., T]`.
    sample_rate_hz: Its sample rate; signals that are equal in seconds have
      equal levels at any rate.

  Returns:
    Root mean square, shape `[...]`; 0 on silence, with gradient zero.

  Example:
    >>> signal = jnp.concatenate([jnp.ones(512), jnp.zeros(1024)])
    >>> print(active_rms(signal, sample_rate_hz=8000).round(3))
    1.0
  """
  signal = dsp.at_least_float32(signal)
  frame_length = max(1, round(_FRAME_S * sample_rate_hz))
  rest = -signal.shape[-1] % frame_length
  padding = [(0, 0)] * (signal.ndim - 1) + [(0, rest)]
  frames = jnp.pad(signal, padding).reshape(
    *signal.shape[:-1], -1, frame_length
  )
  power = jnp.mean(jnp.square(frames), axis=-1)
  # Past the end of a speaker in a room, the rounding errors of a convolution
  # stand in place of zeros.
  sounds = power > _ROUNDING * jnp.max(power, axis=-1, keepdims=True)
  mean = jnp.sum(power, axis=-1, keepdims=True, where=sounds) / jnp.maximum(
    jnp.sum(sounds, axis=-1, keepdims=True), 1
  )
  active = sounds & (power >= mean * 10.0 ** (-_MARGIN_DB / 10.0))
  count = jnp.maximum(jnp.sum(active, axis=-1), 1)
  # As a signal of frame levels, so that silence has the gradient of `rms`.
  level = dsp.rms(frames) * active
  return dsp.rms(level) * jnp.sqrt(level.shape[-1] / count)


def speaker_gains(key, sources, simulation):
  """Random gains `[S]` of the speakers `[S, T]`; 0 for a silent one."""
  ratio_key, gain_key, sign_key = jax.random.split(key, 3)
  shape = sources.shape[:1]
  below = uniform(ratio_key, simulation.snr_db, shape).at[0].set(0.0)
  # What one speaker gains half of, the other loses half of: with (-5, 5), two
  # speakers have the levels of WSJ0-2mix.
  levels = jnp.mean(below) - below
  levels = levels + uniform(gain_key, simulation.gain_db, shape)
  gains = dsp.db_to_amplitude(levels)
  if simulation.level_db is not None:
    level = active_rms(sources, sample_rate_hz=simulation.sample_rate_hz)
    wanted = dsp.db_to_amplitude(simulation.level_db)
    silent = level == 0
    wanted = wanted / jnp.where(silent, 1.0, level)
    gains = jnp.where(silent, 0.0, gains * wanted)
  if simulation.flip_polarity:
    gains = gains * jax.random.rademacher(sign_key, shape, jnp.float32)
  return gains


def noise_gain(key, speech, noise, simulation):
  """Gain of the noise `[T]` below the speech `[T]`; 0 if one is silent."""
  rate = simulation.sample_rate_hz
  level = active_rms(noise, sample_rate_hz=rate)
  silent = level == 0
  ratio = active_rms(speech, sample_rate_hz=rate)
  ratio = ratio / jnp.where(silent, 1.0, level)
  gain = ratio * dsp.db_to_amplitude(-uniform(key, simulation.noise_snr_db))
  return jnp.where(silent, 0.0, gain)


def headroom_gain(signals, *, peak):
  """One gain, at most 1, that keeps all samples of the signals below a peak."""
  top = jnp.max(jnp.stack([jnp.max(jnp.abs(signal)) for signal in signals]))
  return jnp.where(top > peak, peak / jnp.maximum(top, peak), 1.0)


def uniform(key, span, shape=()):
  """Uniform draws between the two ends of a range."""
  low, high = span
  return jax.random.uniform(key, shape, minval=low, maxval=high)


def ends(name, span):
  """A range as two floats."""
  try:
    low, high = np.asarray(span).tolist() if np.ndim(span) else (span, span)
    low, high = float(low), float(high)
  except (TypeError, ValueError):
    low, high = 1.0, 0.0
  if not low <= high:
    raise ValueError(f"{name} {span} must be a number or (low, high)")
  return low, high
