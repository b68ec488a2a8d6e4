"""Cutting signals into frames and adding frames up again."""

import functools

import jax
import jax.numpy as jnp

from jaxsep.typing import Array, Inexact

# With more hops in a frame than this, indexing is cheaper than shifted copies.
_MANY_HOPS = 32


def frame(
  signal: Inexact[Array, "*batch time"],
  *,
  frame_length: int,
  hop_length: int,
) -> Inexact[Array, "*batch frames frame_length"]:
  """Cuts a signal into frames that start `hop_length` samples apart.

  Samples after the last full frame are left out; pad the signal to keep them.

  Args:
    signal: Signal, shape `[..., T]`, at least one frame long.
    frame_length: Samples of a frame, L.
    hop_length: Samples from the start of a frame to the next. If it exceeds
      the frame length, there are gaps.

  Returns:
    Frames, shape `[..., N, L]` with `N = 1 + (T - L) // hop_length`.

  Raises:
    ValueError: If the signal is shorter than a frame or a length is not
      positive.

  Example:
    >>> print(frame(jnp.arange(5.0), frame_length=3, hop_length=2))
    [[0. 1. 2.]
     [2. 3. 4.]]
  """
  signal = jnp.asarray(signal)
  _check_lengths(frame_length, hop_length)
  time = signal.shape[-1]
  if time < frame_length:
    raise ValueError(
      f"signal of {time} samples is shorter than a frame of {frame_length};"
      " pad it first"
    )
  return _frame(signal, frame_length, hop_length)


def overlap_add(
  frames: Inexact[Array, "*batch frames frame_length"], *, hop_length: int
) -> Inexact[Array, "*batch time"]:
  """Adds up frames that start `hop_length` samples apart.

  The transpose of `frame`, without windows or normalisation.

  Args:
    frames: Frames, shape `[..., N, L]`, at least one.
    hop_length: Samples from the start of a frame to the next.

  Returns:
    Signal, shape `[..., T]` with `T = (N - 1) * hop_length + L`.

  Raises:
    ValueError: If there is no frame or a length is not positive.

  Example:
    >>> print(overlap_add(jnp.ones((2, 3)), hop_length=2))
    [1. 1. 2. 1. 1.]
  """
  frames = jnp.asarray(frames)
  num_frames, frame_length = frames.shape[-2:]
  _check_lengths(frame_length, hop_length)
  if not num_frames:
    raise ValueError(f"frames {frames.shape} hold no frame")
  return _overlap_add(frames, hop_length)


# Compiled even if the caller is not.
@functools.partial(jax.jit, static_argnums=(1, 2), inline=True)
def _frame(signal, frame_length, hop_length):
  """The frames of a signal that is long enough."""
  num_frames = 1 + (signal.shape[-1] - frame_length) // hop_length
  num_hops = -(-frame_length // hop_length)
  if num_hops > _MANY_HOPS:
    starts = hop_length * jnp.arange(num_frames)[:, None]
    return signal[..., starts + jnp.arange(frame_length)[None, :]]
  # A frame is `num_hops` neighbouring blocks, here the sum of the zero-padded
  # blocks. The compiler fuses this sum, and its gradient is a sum of slices;
  # the gradient of indexing would be a scatter.
  num_blocks = num_frames + num_hops - 1
  blocks = _fit(signal, num_blocks * hop_length)
  blocks = blocks.reshape(*signal.shape[:-1], num_blocks, hop_length)
  parts = []
  for start in range(0, frame_length, hop_length):
    first = start // hop_length
    width = min(hop_length, frame_length - start)
    block = blocks[..., first : first + num_frames, :width]
    behind = frame_length - start - width
    parts.append(_pad_last_two(block, (0, 0), (start, behind)))
  return functools.reduce(jnp.add, parts)


@functools.partial(jax.jit, static_argnums=1, inline=True)
def _overlap_add(frames, hop_length):
  """The sum of at least one frame."""
  *batch, num_frames, frame_length = frames.shape
  time = (num_frames - 1) * hop_length + frame_length
  num_hops = -(-frame_length // hop_length)
  if num_hops > _MANY_HOPS:
    starts = hop_length * jnp.arange(num_frames)[:, None]
    index = starts + jnp.arange(frame_length)[None, :]
    return jnp.zeros((*batch, time), frames.dtype).at[..., index].add(frames)
  # The transpose of `frame`: block i of every frame lands i hops later.
  parts = []
  for i in range(num_hops):
    block = frames[..., i * hop_length : (i + 1) * hop_length]
    missing = hop_length - block.shape[-1]
    parts.append(_pad_last_two(block, (i, num_hops - 1 - i), (0, missing)))
  signal = functools.reduce(jnp.add, parts)
  return signal.reshape(*batch, -1)[..., :time]


def _pad_last_two(array, before_last, last):
  """Zero-pads the last two axes by the given `(before, after)`."""
  return jnp.pad(array, [(0, 0)] * (array.ndim - 2) + [before_last, last])


def _fit(signal, length):
  """Cuts or zero-pads the last axis to `length`."""
  missing = length - signal.shape[-1]
  if missing <= 0:
    return signal[..., :length]
  return jnp.pad(signal, [(0, 0)] * (signal.ndim - 1) + [(0, missing)])


def _check_lengths(frame_length, hop_length):
  """Checks that both lengths are positive."""
  if frame_length < 1 or hop_length < 1:
    raise ValueError(
      f"frame length {frame_length} and hop length {hop_length} must be"
      " positive"
    )
