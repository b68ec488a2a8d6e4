"""Levels: of talkers against each other, of noise, and below clipping."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep import dsp
from jaxsep.typing import Array, Float, Int, Key

_Number = float | int | np.number | jax.Array
#: `(low, high)`, or one number that stands for both.
Range = Sequence[_Number] | _Number | np.ndarray

# Power below that of the loudest frame that is taken for none: 100 dB.
_ROUNDING = 1e-10


def uniform(
  key: Key, span: Range, shape: tuple[int, ...] = ()
) -> Float[Array, "..."]:
  """Uniform draws from a range, or the number itself.

  Args:
    key: Random key.
    span: `(low, high)`, or one number that every draw equals.
    shape: Shape of the draws.

  Returns:
    Draws, float32 of the given shape.

  Raises:
    ValueError: If the range is not two ascending numbers.

  Example:
    >>> print(uniform(jax.random.key(0), 3.0, (2,)))
    [3. 3.]
  """
  low, high = check_span(span)
  return jax.random.uniform(key, shape, minval=low, maxval=high)


def check_span(span: Range, name: str = "range") -> tuple[float, float]:
  """A range as two floats.

  Args:
    span: `(low, high)`, or one number that stands for both.
    name: What to call the range in an error.

  Returns:
    `(low, high)`.

  Raises:
    ValueError: If the range is not two ascending numbers.

  Example:
    >>> check_span(5)
    (5.0, 5.0)
  """
  try:
    # Of NumPy and JAX, a number is an array without axes.
    ends = np.asarray(span)
    low, high = map(float, ends if ends.ndim else (ends, ends))
  except (TypeError, ValueError):
    low, high = 1.0, 0.0
  if not low <= high:
    raise ValueError(f"{name} {span} must be a number or (low, high)")
  return low, high


def active_rms(
  signal: Float[Array, "*batch time"],
  *,
  frame_length: int = 256,
  margin_db: float = 15.9,
) -> Float[Array, "*batch"]:
  """Root mean square of the parts in which something sounds.

  Frames more than `margin_db` below the mean power are pauses and do not count,
  so that a talker who pauses is not made louder for it. A one-pass stand-in for
  the active speech level of ITU-T P.56, whose margin it takes. Frames without
  any sound are left out of that mean too: how far a signal is padded with
  zeros changes nothing.

  Args:
    signal: Signal, shape `[..., T]`.
    frame_length: Samples a frame, 32 ms at 8 kHz.
    margin_db: How far below the mean a frame still counts.

  Returns:
    Root mean square, shape `[...]`; 0 on silence, with gradient zero.

  Example:
    >>> signal = jnp.concatenate([jnp.ones(512), jnp.zeros(1024)])
    >>> print(active_rms(signal).round(3))
    1.0
  """
  signal = dsp.at_least_float32(signal)
  rest = -signal.shape[-1] % frame_length
  padding = [(0, 0)] * (signal.ndim - 1) + [(0, rest)]
  frames = jnp.pad(signal, padding).reshape(
    *signal.shape[:-1], -1, frame_length
  )
  power = jnp.mean(jnp.square(frames), axis=-1)
  # Beyond the end of a talker in a room there are no zeros but the rounding of
  # a convolution; nothing that could be heard is as far below the rest.
  sounds = power > _ROUNDING * jnp.max(power, axis=-1, keepdims=True)
  mean = jnp.sum(power, axis=-1, keepdims=True, where=sounds) / jnp.maximum(
    jnp.sum(sounds, axis=-1, keepdims=True), 1
  )
  active = sounds & (power >= mean * 10.0 ** (-margin_db / 10.0))
  count = jnp.maximum(jnp.sum(active, axis=-1), 1)
  # As a signal of frame levels, so that silence has the gradient of `rms`.
  level = dsp.rms(frames) * active
  return dsp.rms(level) * jnp.sqrt(level.shape[-1] / count)


def talker_gains(
  key: Key,
  sources: Float[Array, "sources time"],
  *,
  level_db: float | int | None = -25.0,
  snr_db: Range = 0.0,
  gain_db: Range = 0.0,
  flip_polarity: bool = False,
) -> Float[Array, "sources"]:
  """Random gains that set talkers against each other.

  Args:
    key: Random key.
    sources: Talkers as they sound in the mixture, shape `[S, T]`.
    level_db: Common active level that they are brought to before the random
      part, in dB of full scale; None keeps the levels of the recordings.
    snr_db: How far the first talker is above each other one, uniform; what one
      gains half of, the other loses half of, so that `(-5, 5)` is the rule of
      WSJ0-2mix.
    gain_db: Further gain of each talker on its own, uniform.
    flip_polarity: Turn the sign of each talker with probability one half.

  Returns:
    Gains, shape `[S]`; 0 for a silent talker whose level is to be set.

  Example:
    >>> sources = jnp.stack([jnp.ones(512), 0.1 * jnp.ones(512)])
    >>> gains = talker_gains(jax.random.key(0), sources, level_db=-20.0)
    >>> print(gains.round(3))
    [0.1 1. ]
  """
  ratio_key, gain_key, sign_key = jax.random.split(key, 3)
  num_sources = sources.shape[0]
  below = uniform(ratio_key, snr_db, (num_sources,)).at[0].set(0.0)
  levels = jnp.mean(below) - below + uniform(gain_key, gain_db, (num_sources,))
  gains = dsp.db_to_amplitude(levels)
  if level_db is not None:
    level = active_rms(sources)
    silent = level == 0
    wanted = dsp.db_to_amplitude(level_db) / jnp.where(silent, 1.0, level)
    gains = jnp.where(silent, 0.0, gains * wanted)
  if flip_polarity:
    gains = gains * jax.random.rademacher(sign_key, (num_sources,), jnp.float32)
  return gains


def noise_gain(
  key: Key,
  speech: Float[Array, "time"],
  noise: Float[Array, "time"],
  *,
  snr_db: Range,
) -> Float[Array, ""]:
  """Gain that puts the noise at a random distance below the speech.

  Args:
    key: Random key.
    speech: All talkers together, shape `[T]`.
    noise: Noise, shape `[T]`.
    snr_db: Ratio of the active levels in dB, a number or a uniform range.

  Returns:
    Gain, a number; 0 if the speech or the noise is silent.

  Example:
    >>> speech, noise = jnp.ones(512), 2.0 * jnp.ones(512)
    >>> gain = noise_gain(jax.random.key(0), speech, noise, snr_db=20.0)
    >>> print(gain.round(3))
    0.05
  """
  level = active_rms(noise)
  silent = level == 0
  ratio = active_rms(speech) / jnp.where(silent, 1.0, level)
  gain = ratio * dsp.db_to_amplitude(-uniform(key, snr_db))
  return jnp.where(silent, 0.0, gain)


def headroom_gain(
  *signals: Float[Array, "..."], peak: float
) -> Float[Array, ""]:
  """One gain, at most 1, that keeps every sample of every signal below a peak.

  Args:
    *signals: Signals of any shape that must keep their ratio.
    peak: Largest absolute value wanted; 1 is full scale.

  Returns:
    Gain, a number; 1 where nothing exceeds the peak.

  Example:
    >>> print(headroom_gain(jnp.array([0.2, -3.6]), peak=0.9))
    0.25
  """
  top = jnp.max(jnp.stack([jnp.max(jnp.abs(signal)) for signal in signals]))
  return jnp.where(top > peak, peak / jnp.maximum(top, peak), 1.0)


def valid_samples(
  length: Int[Array, "*batch"], time: int
) -> Float[Array, "*batch time"]:
  """1 on the valid samples of each signal, 0 on its padding.

  Args:
    length: Valid samples, shape `[...]`.
    time: Samples of the padded signal.

  Returns:
    Mask, float32, shape `[..., T]`.

  Example:
    >>> print(valid_samples(jnp.array([1, 3]), 3))
    [[1. 0. 0.]
     [1. 1. 1.]]
  """
  length = jnp.asarray(length)
  steps = jnp.arange(time).reshape((1,) * length.ndim + (time,))
  return (steps < length[..., None]).astype(jnp.float32)
