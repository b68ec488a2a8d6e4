"""What a causal network of frames carries from one chunk to the next.

A network asks a `FrameStream` for what depends on the past: the statistics of
its cumulative norms, and the frames that its convolutions look back to. All
of that is in few buffers, as moving many small ones costs more time than the
arithmetic does:

- `statistics [B, norms, 4]`: mean and variance of all frames so far, each as
  a float32 number and its rounding error. Plain sums would stop growing after
  a few hours, and so would plain means with small chunks.
- `count [B]`: the number of these frames. It stops at 2**30, 12 days at 1 kHz;
  from then on the statistics forget, with that time constant. Non-finite
  frames, and frames too large to be squared, are left out of the statistics.
- `contexts`: per dilation, `[B, frames, repeats, C]`, the frames that its
  convolutions reach back to, the latest last. Moving them all at each chunk
  costs less than gathering them from a ring buffer.
"""

import collections
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxsep.models.norms import EPS, Statistics
from jaxsep.typing import Array

#: The largest number of frames that the statistics give weight to.
MOST_FRAMES = 2**30
#: Frames of a larger mean square are left out of the statistics; float32 ends
#: at 3e38, and sums over frames must end below that.
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
    """The state before the first frame; `contexts` are shapes without batch.

    The frames before it are zeros, as those that a convolution is padded with.
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
    """Begins a step of `num_frames`, of which those `valid [B, N]` count.

    The others are zeros to the convolutions, and nothing to the norms.
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

    Both are `[B, N, 1]`. A frame that is left out gets zero for the reciprocal
    deviation, as from statistics of the whole.
    """
    features = features.astype(jnp.float32)
    old = self._state.statistics[:, len(self._statistics)]
    high, low = old[:, 0::2], old[:, 1::2]
    # Differences from the mean before the chunk, or from that of the first
    # frame of all: see `norms.py`.
    is_first = self._state.count == 0
    center = jnp.where(is_first, self._first_mean(features), high[:, 0])
    features = features - center[:, None, None]
    values = jnp.stack(
      [jnp.mean(features, axis=2), jnp.mean(jnp.square(features), axis=2)],
      axis=1,
    )
    # Comparisons with NaN are false.
    is_sound = values[:, 1] < MOST_POWER
    counts_in = is_sound if self._valid is None else is_sound & self._valid
    high = high.at[:, 0].set(0.0)[..., None]
    low = low[..., None]
    change = jnp.where(counts_in[:, None], (values - high) - low, 0.0)
    counts = self._counts[:, None].astype(jnp.float32)
    change = low + jnp.cumsum(change, axis=-1) / counts
    offset = change[:, 0]
    # Rounding can leave a constant input with a variance just below zero.
    power = high[:, 1] + change[:, 1]
    variance = jnp.maximum(power - jnp.square(offset), 0.0)
    new = [
      *_two_sum(center, offset[:, -1]),
      *_two_sum(high[:, 1, 0], change[:, 1, -1] - jnp.square(offset[:, -1])),
    ]
    self._statistics.append(jnp.stack(new, axis=1))
    scale = jnp.where(is_sound, jax.lax.rsqrt(variance + eps), 0.0)
    return (center[:, None] + offset)[..., None], scale[..., None]

  def _first_mean(self, features):
    """Mean of the first frame that counts, `[B]`; 0 if not finite."""
    first = features[:, :1]
    if self._valid is not None:
      index = jnp.argmax(self._valid, axis=1)[:, None, None]
      first = jnp.take_along_axis(features, index, axis=1)
    mean = jnp.mean(first, axis=(1, 2))
    return jnp.where(jnp.abs(mean) < jnp.sqrt(MOST_POWER), mean, 0.0)

  def taps(
    self, frames: jax.Array, num_taps: int, *, dilation: int
  ) -> list[jax.Array]:
    """The frames `[B, N, C]` as each tap of a causal convolution sees them.

    They are delayed for each tap, the longest delay first, float32. The
    dilation is a power of two.
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
  """The rounded sum, and its rounding error exactly."""
  total = a + b
  rest = total - a
  return total, (a - (total - rest)) + (b - rest)
