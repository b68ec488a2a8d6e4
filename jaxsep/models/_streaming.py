"""What a causal network of frames carries from one chunk to the next.

A network asks a `FrameStream` for what depends on the past: the statistics of
its cumulative norms, and the frames that its convolutions look back to. All
of that lies in few buffers, as moving many small ones costs more time than
the arithmetic does:

- `statistics [B, norms, 4]`: mean and mean square of all frames so far, each
  as a float32 number and the rounding error of it. Plain sums would stop
  growing after a few hours, as would plain means at small chunks.
- `count [B]`: the frames behind them. It stops at 2**30, 12 days at 1 kHz;
  from then on the statistics forget, with that time constant. A frame that is
  no number, or beyond all measure, is to the statistics as the mean of those
  before it: it would stay in them for good.
- `contexts`: per dilation, `[B, frames, repeats, C]`, just the frames that its
  convolutions reach back to, the latest last. A chunk moves them all along,
  which costs less than to gather them from a ring.
"""

import collections
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxsep.models.norms import EPS, Statistics, feature_sums
from jaxsep.typing import Array

#: Frames after which the statistics stop to give the past more weight.
MOST_FRAMES = 2**30
#: Mean square of a frame beyond which it does not count; float32 ends at 3e38,
#: and sums over frames must end below that.
MOST_POWER = 1e30


class FrameState(NamedTuple):
  """The state of a network of frames; see the top of this file."""

  count: jax.Array
  statistics: jax.Array
  contexts: tuple[jax.Array, ...]

  @classmethod
  def zeros(
    cls,
    batch: int,
    *,
    num_norms: int,
    contexts: Sequence[tuple[int, ...]],
    dtype: DTypeLike,
  ) -> "FrameState":
    """The state before the first frame.

    Args:
      batch: Signals at a time.
      num_norms: Cumulative norms.
      contexts: Shapes of the contexts, without the batch.
      dtype: Their type.

    Returns:
      The state. The frames before the first one are zeros, as those that a
      convolution is padded with.
    """
    return cls(
      count=jnp.zeros((batch,), jnp.int32),
      statistics=jnp.zeros((batch, num_norms, 4)),
      contexts=tuple(jnp.zeros((batch, *shape), dtype) for shape in contexts),
    )


class FrameStream:
  """Hands out the past while the next frames are traced.

  Norms and convolutions must ask in the same order at each step.
  """

  def __init__(
    self, state: FrameState, num_frames: int, valid: Array | None = None
  ):
    """Begins a step.

    Args:
      state: The state before it.
      num_frames: Frames of the step.
      valid: Which of them count, shape `[B, N]`; None for all. Others are
        zeros to the convolutions, and nothing to the norms.
    """
    self._state = state
    self._valid = valid
    if valid is None:
      shape = (len(state.count), num_frames)
      numbers = jnp.broadcast_to(jnp.arange(1, num_frames + 1), shape)
    else:
      numbers = jnp.cumsum(valid, axis=1, dtype=jnp.int32)
    self._counts = jnp.maximum(state.count[:, None] + numbers, 1)
    self._new_count = jnp.minimum(
      state.count + numbers[:, -1], MOST_FRAMES - num_frames
    )
    self._statistics: list[jax.Array] = []
    self._frames = collections.defaultdict(list)

  def cumulative_statistics(
    self, features: jax.Array, *, eps: float = EPS
  ) -> Statistics:
    """Mean and reciprocal deviation of all frames up to each of the step.

    Args:
      features: The features of the step, shape `[B, N, C]`.
      eps: Added to the variance.

    Returns:
      Both statistics, shape `[B, N, 1]`; a frame beyond measure gets zero for
      the reciprocal deviation, as from statistics of the whole.
    """
    total, energy = feature_sums(features, causal=True)
    old = self._state.statistics[:, len(self._statistics)]
    high, low = old[:, 0::2, None], old[:, 1::2, None]
    values = jnp.stack([total[..., 0], energy[..., 0]], axis=1)
    values /= features.shape[-1]
    # Not so for NaN, of which no comparison is true.
    is_sound = values[:, 1] < MOST_POWER
    counts_in = is_sound if self._valid is None else is_sound & self._valid
    change = jnp.where(counts_in[:, None], (values - high) - low, 0.0)
    counts = self._counts[:, None].astype(jnp.float32)
    change = low + jnp.cumsum(change, axis=-1) / counts
    mean, power = (high + change)[:, 0], (high + change)[:, 1]
    new = jnp.stack(_two_sum(high[..., 0], change[..., -1]), axis=-1)
    self._statistics.append(new.reshape(-1, 4))
    # Rounding can leave a constant input with a variance just below zero.
    variance = jnp.maximum(power - jnp.square(mean), 0.0)
    scale = jnp.where(is_sound, jax.lax.rsqrt(variance + eps), 0.0)
    return mean[..., None], scale[..., None]

  def taps(
    self, frames: jax.Array, num_taps: int, *, dilation: int
  ) -> list[jax.Array]:
    """The frames that each tap of a causal convolution sees.

    Args:
      frames: The input of the convolution, shape `[B, N, C]`.
      num_taps: Taps of the convolution.
      dilation: Frames between two taps, a power of two.

    Returns:
      The input delayed for each tap, the longest delay first, float32.
    """
    if self._valid is not None:
      frames = jnp.where(self._valid[..., None], frames, 0)
    index = dilation.bit_length() - 1
    context = self._state.contexts[index]
    if not context.shape[1]:
      return [frames.astype(jnp.float32)]
    repeat = len(self._frames[index])
    self._frames[index].append(frames)
    num_frames = frames.shape[1]
    delayed = []
    for tap in range(num_taps):
      start = tap * dilation
      past = context[:, start : start + num_frames, repeat]
      new = frames[:, : num_frames - past.shape[1]]
      delayed.append(jnp.concatenate([past, new], axis=1).astype(jnp.float32))
    return delayed

  def state(self) -> FrameState:
    """The state after the step."""
    contexts = []
    for index, context in enumerate(self._state.contexts):
      if length := context.shape[1]:
        frames = jnp.stack(self._frames[index], axis=2)
        context = jnp.concatenate([context, frames], axis=1)[:, -length:]
      contexts.append(context)
    statistics = self._state.statistics
    if self._statistics:
      statistics = jnp.stack(self._statistics, axis=1)
    return FrameState(
      count=self._new_count,
      statistics=statistics,
      contexts=tuple(contexts),
    )


def _two_sum(a, b):
  """The sum as rounded, and exactly what the rounding took off."""
  total = a + b
  rest = total - a
  return total, (a - (total - rest)) + (b - rest)
