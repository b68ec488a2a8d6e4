"""Change of the sample rate by a rational factor."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxsep.dsp._frames import frame
from jaxsep.dsp._precision import at_least_float32, inexact
from jaxsep.typing import Array, Float

# Zero crossings of the sinc on each side.
_NUM_ZEROS = 64
# Cut-off (-6 dB) as a share of the lower of both Nyquist frequencies.
_ROLLOFF = 0.95
# Shape of the Kaiser window.
_BETA = 9.0


def resample(
  signal: Float[Array, "*batch time"],
  *,
  orig_rate_hz: int,
  target_rate_hz: int,
) -> Float[Array, "*batch new_time"]:
  """Resamples with a polyphase filter, a sinc in a Kaiser window.

  Zero phase and gain 1: sample n of the result is at `n / target_rate_hz`
  seconds, and levels stay. The signal is zero before its start and after its
  end. The filter passes 90 % of the band of the lower rate and attenuates
  aliases by 90 dB.

  Args:
    signal: Signal, shape `[..., T]`.
    orig_rate_hz: Sample rate of the signal, a whole number.
    target_rate_hz: Sample rate wanted, a whole number.

  Returns:
    Resampled signal, shape `[..., ceil(T * target_rate_hz / orig_rate_hz)]`,
    in the type of the input; float32 of whole numbers.

  Raises:
    ValueError: If a rate is not a positive whole number.

  Example:
    >>> signal = jnp.ones(800)
    >>> resampled = resample(signal, orig_rate_hz=8000, target_rate_hz=16000)
    >>> print(resampled.shape, f"{resampled[800]:.3f}")
    (1600,) 1.000
  """
  signal = inexact(signal)
  up, down = _ratio(orig_rate_hz, target_rate_hz)
  length = -(-signal.shape[-1] * up // down)
  if up == down or not length:
    return signal
  output = _apply(at_least_float32(signal), up, down, length)
  return output.astype(signal.dtype)


def _ratio(orig_rate_hz, target_rate_hz):
  """The factors `(up, down)` without a common divisor."""
  for rate in (orig_rate_hz, target_rate_hz):
    if rate < 1 or rate != int(rate):
      raise ValueError(
        f"sample rate {rate} must be a positive whole number of Hz"
      )
  orig, target = int(orig_rate_hz), int(target_rate_hz)
  divisor = math.gcd(orig, target)
  return target // divisor, orig // divisor


class _Plan(NamedTuple):
  """How outputs are computed: `groups` matrix products per period.

  Output `m * period + g * G + p` is the product of the inputs from
  `m * advance + starts[g] - left` on with `taps[g, :, p]`.
  """

  period: int
  advance: int
  left: int
  starts: np.ndarray  # [groups]
  taps: np.ndarray  # [groups, span, G]


def _make_plan(up, down, length):
  """Divides the outputs into groups, one matrix product each."""
  # Taps repeat every `up` outputs. A group of outputs is about as long as its
  # filter, so that at most half of the dense product is zeros. A short period
  # is repeated to fill a group. A long one is cut into groups, and only those
  # within the signal are made.
  half = _NUM_ZEROS * max(up, down)
  group = max(1, (2 * half + up) // down)
  if up <= 2 * group:
    repeats = max(1, round(group / up))
    group = period = up * repeats
  else:
    repeats, period = 1, up
  num_groups = -(-min(length, period) // group)
  starts, taps = _taps(up, down, group, num_groups)
  return _Plan(period, down * repeats, half // up, starts, taps)


@functools.lru_cache(maxsize=8)
def _taps(up, down, group, num_groups):
  """First inputs, counted from the leftmost, and the taps of each group."""
  half = _NUM_ZEROS * max(up, down)
  shape = functools.partial(_windowed_sinc, scale=max(up, down))
  # The gain at 0 Hz is the sum of all taps. A long filter is smooth, so every
  # `stride`-th tap gives the same.
  stride = max(1, max(up, down) // 4096)
  reach = half // stride
  total = stride * np.sum(shape(stride * np.arange(-reach, reach + 1)))
  span = 1 + 2 * half // up + -(-(group - 1) * down // up)
  first_output = group * np.arange(num_groups)
  first_input = -((half - first_output * down) // up)
  taps = np.zeros((num_groups, span, group), np.float32)
  # One group at a time, as its float64 arrays are large.
  for i in range(num_groups):
    outputs = (first_output[i] + np.arange(group)) * down
    inputs = (first_input[i] + np.arange(span)) * up
    distance = outputs[None, :] - inputs[:, None]
    inside = np.abs(distance) <= half
    taps[i, inside] = shape(distance[inside]) * (up / total)
  return first_input - first_input[0], taps


def _windowed_sinc(distance, *, scale):
  """The filter at distances in samples of the common multiple of the rates."""
  place = distance / (_NUM_ZEROS * scale)
  window = np.i0(_BETA * np.sqrt(1.0 - place**2)) / np.i0(_BETA)
  return np.sinc(_ROLLOFF / scale * distance) * window


# Compiled even if the caller is not: step by step it is slow.
@functools.partial(jax.jit, static_argnums=range(1, 4))
def _apply(signal, up, down, length):
  """Frames the signal and multiplies every group with its taps."""
  plan = _make_plan(up, down, length)
  num_groups, span, _ = plan.taps.shape
  num_periods = -(-length // plan.period)
  frame_length = int(plan.starts[-1]) + span
  needed = (num_periods - 1) * plan.advance + frame_length
  right = needed - plan.left - signal.shape[-1]
  # lax.pad, as `right` is negative where the last inputs reach no output.
  pads = [(0, 0, 0)] * (signal.ndim - 1) + [(plan.left, right, 0)]
  signal = lax.pad(signal, jnp.zeros((), signal.dtype), pads)
  frames = frame(signal, frame_length=frame_length, hop_length=plan.advance)
  taps = jnp.asarray(plan.taps, signal.dtype)
  # The default precision of accelerators would be audible.
  matmul = functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST)
  if num_groups == 1:
    output = matmul(frames, taps[0])
  else:
    index = plan.starts[:, None] + np.arange(span)
    output = jax.vmap(matmul, in_axes=(-2, 0), out_axes=-2)(
      frames[..., index], taps
    )
    output = output.reshape(*frames.shape[:-1], -1)
  # The last group of a period may reach into the next period.
  output = output[..., : plan.period]
  return output.reshape(*signal.shape[:-1], -1)[..., :length]
