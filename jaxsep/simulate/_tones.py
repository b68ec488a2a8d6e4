"""Alternating harmonic tones, and silences that mute one of them."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxsep import dsp
from jaxsep.typing import Array, Bool, Float, Int, Key

_AMPLITUDES = ("equal", "inverse")


def alternating_tones(
  key: Key,
  *,
  num_samples: int,
  sample_rate_hz: int,
  harmonics: tuple[int, ...] = tuple(range(1, 11)),
  f0_hz: tuple[float, ...] = (117.0, 201.0),
  period_s: Float[Array, ""] | float = 0.062,
  amplitude: str = "equal",
  ramp_s: float = 0.002,
  level_db: float | int = -25.0,
) -> dict[str, Array]:
  """Harmonic tones that take turns, as a mixture and its sources.

  Tone i sounds in the i-th part of every period, so with two tones each is on
  for half of it and off for the other half. The tones never overlap: the ramps
  lie within a burst. The partials run on through the pauses, as if a steady
  tone were switched on and off.

  Args:
    key: Random key; draws the phase of every partial.
    num_samples: Length T.
    sample_rate_hz: Sample rate.
    harmonics: Which multiples of the fundamental are present; `(4, 5, 6, 7, 8)`
      lacks the lowest three, `(1, 2, 3, 5)` one in the middle.
    f0_hz: Fundamental of each tone. The first tone begins.
    period_s: From one onset of a tone to its next, rounded to whole samples of
      a burst; may be traced.
    amplitude: "equal" for all partials, or "inverse" for 1/k of harmonic k.
    ramp_s: Duration of the raised-cosine ramps at both ends of a burst; 0
      switches without ramps.
    level_db: Root mean square of the mixture, in dB of full scale.

  Returns:
    "mixture" `[T]` and "reference" `[S, T]`, the trains of bursts of each
    tone, whose sum the mixture is.

  Raises:
    ValueError: If a partial reaches half the sample rate, or an option is out
      of range.

  References:
    Parikh et al., harmonicity in speech segregation, 2022, section 2.1.

  Example:
    >>> tones = alternating_tones(
    ...   jax.random.key(0), num_samples=8000, sample_rate_hz=8000)
    >>> level = dsp.amplitude_to_db(dsp.rms(tones["mixture"]))
    >>> print(tones["reference"].shape, level.round(1))
    (2, 8000) -25.0
  """
  _check_partials(harmonics, f0_hz, sample_rate_hz)
  if amplitude not in _AMPLITUDES:
    raise ValueError(f"amplitude {amplitude!r} must be one of {_AMPLITUDES}")
  if ramp_s < 0 or num_samples < 1:
    raise ValueError(
      f"ramp_s {ramp_s} must not be negative and num_samples {num_samples}"
      " must be positive"
    )
  partials = np.outer(f0_hz, harmonics)
  # Phases in double precision, modulo one turn: in 32 bits, those of a high
  # partial drift by hundredths of a radian within seconds.
  turns = partials[..., None] * np.arange(num_samples) / sample_rate_hz % 1.0
  phases = jax.random.uniform(key, (*partials.shape, 1))
  waves = jnp.sin(2 * jnp.pi * (turns.astype(np.float32) + phases))
  weights = np.ones(len(harmonics))
  if amplitude == "inverse":
    weights = 1.0 / np.asarray(harmonics)
  weights = jnp.asarray(weights, jnp.float32)
  tones = jnp.sum(waves * weights[None, :, None], axis=1)

  gate = _gates(
    num_samples, len(f0_hz), period_s, ramp_s, sample_rate_hz=sample_rate_hz
  )
  reference = tones * gate
  level = dsp.rms(jnp.sum(reference, axis=0))
  gain = dsp.db_to_amplitude(level_db) / jnp.where(level > 0, level, 1.0)
  reference = gain * reference
  return {"mixture": jnp.sum(reference, axis=0), "reference": reference}


def burst_length(
  period_s: Float[Array, ""] | float,
  *,
  sample_rate_hz: int,
  num_tones: int = 2,
) -> Int[Array, ""]:
  """Samples of a burst of `alternating_tones`.

  Args:
    period_s: From one onset of a tone to its next; may be traced.
    sample_rate_hz: Sample rate.
    num_tones: Tones that take turns.

  Returns:
    Samples, an int32 number, at least 1. Burst n is that of tone `n %
    num_tones` and starts at sample `n * burst_length`.

  Raises:
    ValueError: If the period is known and not positive.

  Example:
    >>> print(burst_length(0.062, sample_rate_hz=8000))
    248
  """
  if _is_known(period_s) and not float(period_s) > 0:
    raise ValueError(f"period_s {period_s} must be positive")
  samples = jnp.round(jnp.asarray(period_s) * (sample_rate_hz / num_tones))
  return jnp.maximum(samples.astype(jnp.int32), 1)


def gap_starts(
  key: Key,
  *,
  tones: tuple[int, ...],
  num_samples: int,
  sample_rate_hz: int,
  gap_s: Float[Array, ""] | float,
  period_s: Float[Array, ""] | float = 0.062,
  margin_s: Float[Array, ""] | float = 0.3,
  spacing_s: Float[Array, ""] | float = 0.0,
) -> Int[Array, "gaps"]:
  """Draws where silences start that mute one of two tones.

  The signal, without a margin at both ends, is cut into as many equal parts as
  there are gaps, and in part n one burst of tone `tones[n]` is drawn. A gap
  shorter than the burst lies anywhere within it; a longer one starts with it,
  and so mutes the other tone as well. Each part must hold such a burst with the
  gap and the spacing. This is not checked where it depends on a traced value: a
  gap without room then starts with the first burst of its part, and may run
  into another gap or past the end.

  Args:
    key: Random key.
    tones: Which tone each gap mutes, 0 for the first; `(0, 1, 0)` makes three.
    num_samples: Length of the signal.
    sample_rate_hz: Sample rate.
    gap_s: Duration of a gap; may be traced.
    period_s: Period of the tones; may be traced.
    margin_s: Left alone before the first gap and after the last.
    spacing_s: Least time from the end of a gap to the start of the next.

  Returns:
    First sample of each gap, int32, ascending if each gap has room.

  Raises:
    ValueError: If `tones` is empty or names no tone, or if known durations are
      out of range or leave a gap without room.

  Example:
    >>> starts = gap_starts(
    ...   jax.random.key(0), tones=(1, 0), num_samples=8000,
    ...   sample_rate_hz=8000, gap_s=0.031)
    >>> print(starts // 248 % 2)
    [1 0]
  """
  if not tones or not set(tones) <= {0, 1}:
    raise ValueError(f"tones {tones} must be 0 or 1 for each gap")
  # Evaluated also under a caller's `jit`, so that known values are checked.
  with jax.ensure_compile_time_eval():
    burst = burst_length(period_s, sample_rate_hz=sample_rate_hz)
    gap = jnp.round(jnp.asarray(gap_s) * float(sample_rate_hz))
    gap = gap.astype(jnp.int32)
    onset = burst * jnp.asarray(tones)
    period = 2 * burst
    margin = jnp.asarray(margin_s) * float(sample_rate_hz)
    spacing = jnp.asarray(spacing_s) * float(sample_rate_hz)
    part = (num_samples - 2 * margin) / len(tones)
    begin = margin + part * jnp.arange(len(tones))
    # Periods, counted by the onset of the tone, that a gap may be in; it and
    # the time to the next must end with the part.
    reach = jnp.maximum(gap, burst) + spacing
    first = jnp.ceil((begin - onset) / period)
    last = jnp.floor((begin + part - reach - onset) / period)
  durations = {"gap_s": gap, "margin_s": margin, "spacing_s": spacing}
  for name, value in durations.items():
    if _is_known(value) and np.asarray(value) < 0:
      raise ValueError(f"{name} must not be negative")
  is_known = _is_known(first) and _is_known(last)
  if is_known and np.any(np.asarray(last) < np.asarray(first)):
    raise ValueError(
      f"{len(tones)} gaps of {gap_s} s, and {spacing_s} s after each, do not"
      f" fit into {num_samples} samples less {margin_s} s at both ends: a part"
      f" of {max(0, int(part))} samples holds no burst of its tone; give more"
      " samples, or fewer or shorter gaps"
    )
  place_key, shift_key = jax.random.split(key)
  count = jnp.maximum(last - first + 1, 1)
  place = jax.random.uniform(place_key, (len(tones),))
  chosen = first + jnp.minimum(jnp.floor(count * place), count - 1)
  room = jnp.maximum(burst - gap, 0) + 1
  place = jax.random.uniform(shift_key, (len(tones),))
  shift = jnp.minimum(jnp.floor(room * place).astype(jnp.int32), room - 1)
  return jnp.maximum(chosen, 0).astype(jnp.int32) * period + onset + shift


def _is_known(value) -> bool:
  """Whether a value is known, not traced."""
  return not isinstance(value, Tracer)


def mute(
  signal: Float[Array, "*batch time"],
  starts: Int[Array, "gaps"],
  length: Int[Array, ""] | int,
) -> Float[Array, "*batch time"]:
  """Replaces parts of a signal by silence; nothing is shifted in time.

  Args:
    signal: Signal, shape `[..., T]`; give mixture and sources alike.
    starts: First sample of each silence, shape `[G]`.
    length: Samples of each; may be traced.

  Returns:
    The signal with zeros there, same shape.

  Example:
    >>> print(mute(jnp.ones(5), jnp.array([1]), 2))
    [1. 0. 0. 1. 1.]
  """
  signal = dsp.at_least_float32(signal)
  kept = ~_within(signal.shape[-1], jnp.asarray(starts), length)
  kept = kept.reshape((1,) * (signal.ndim - 1) + kept.shape)
  return jnp.where(kept, signal, 0.0)


def _within(
  num_samples: int, starts: Int[Array, "gaps"], length: Array | int
) -> Bool[Array, "time"]:
  """Which samples lie in one of the gaps."""
  after = jnp.arange(num_samples)[None, :] - starts[:, None]
  return jnp.any((after >= 0) & (after < length), axis=0)


def _gates(num_samples, num_tones, period_s, ramp_s, *, sample_rate_hz):
  """How loud each tone is at each sample, `[S, T]`, 0 to 1."""
  burst = burst_length(
    period_s, sample_rate_hz=sample_rate_hz, num_tones=num_tones
  )
  step = jnp.arange(num_samples)
  turn = (step // burst) % num_tones
  tone = jnp.arange(num_tones)
  gate = (turn[None, :] == tone[:, None]).astype(jnp.float32)
  if ramp_s > 0:
    # At most half a burst, so that rise and fall do not meet.
    ramp = jnp.minimum(ramp_s * sample_rate_hz, burst / 2)
    inside = step % burst
    edge = jnp.minimum(inside, burst - 1 - inside) + 0.5
    rise = jnp.clip(edge / ramp, 0.0, 1.0)
    gate = gate * (0.5 - 0.5 * jnp.cos(jnp.pi * rise))[None, :]
  return gate


def _check_partials(harmonics, f0_hz, sample_rate_hz):
  """Raises ValueError unless all partials can be sampled."""
  if not harmonics or not f0_hz or min(harmonics) < 1 or min(f0_hz) <= 0:
    raise ValueError(
      f"harmonics {harmonics} must be numbers from 1 on and f0_hz {f0_hz}"
      " positive; neither may be empty"
    )
  if len(set(harmonics)) < len(harmonics):
    raise ValueError(f"harmonics {harmonics} names one of them twice")
  top = max(harmonics) * max(f0_hz)
  if top >= sample_rate_hz / 2:
    raise ValueError(
      f"the highest partial, {top:g} Hz, must lie below half of"
      f" sample_rate_hz {sample_rate_hz}"
    )
