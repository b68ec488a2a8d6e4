"""Cuts a recording into overlapping chunks while it is read."""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from jaxsep.typing import Float

# Speech counts as such down to 30 dB below the level of the recording.
_ACTIVE_POWER = 1e-3
# How fast the level forgets a loud chunk: by 0.5 dB per chunk.
_LEVEL_DECAY = 0.9
# The number of levels an overlap is looked at with.
_FRAMES_PER_OVERLAP = 32


@dataclasses.dataclass(frozen=True)
class Chunk:
  """A stretch of a recording.

  Attributes:
    start: Position of its first sample in the recording.
    samples: The samples, shape `[T]`.
    level: RMS of the recording so far: that of the chunk, or of a louder one
      before it that is not forgotten yet; 0 if all was silent.
  """

  start: int
  samples: Float[np.ndarray, "time"]
  level: float


def cut(
  blocks: Iterable[Float[np.ndarray, "_time"]],
  *,
  chunk_length: int,
  overlap: int,
) -> Iterator[Chunk]:
  """Cuts blocks into chunks that overlap their neighbours.

  Every chunk has the same length and is full of recording: the last one begins
  early enough to end with the recording. Only a recording that is shorter than
  a chunk makes a shorter one.

  Chunks overlap by `overlap` samples at least. Where that overlap would fall
  into a pause, the next chunk begins earlier, by up to three quarters of a
  chunk, so that there is speech in it by which to recognise the voices.

  Args:
    blocks: Consecutive stretches of the recording, each of shape `[any]`.
    chunk_length: Samples per chunk.
    overlap: Samples that neighbours share at least.

  Yields:
    The chunks in their order.
  """
  held = np.zeros(0, np.float32)  # From the start of the last chunk on.
  fresh: list[np.ndarray] = []  # What was read after it.
  missing = chunk_length  # Samples to read until the next chunk is full.
  start = hop = 0  # Of the last chunk; from there to the next one.
  level = 0.0
  for block in blocks:
    fresh.append(block)
    missing -= len(block)
    if missing > 0:
      continue
    held, fresh = np.concatenate([held, *fresh]), []
    while len(held) - hop >= chunk_length:
      held = held[hop:]
      start += hop
      samples = held[:chunk_length].copy()
      level = _running_level(samples, level)
      yield Chunk(start, samples, level)
      hop = _hop(samples, level, overlap)
    missing = hop + chunk_length - len(held)
  held = np.concatenate([held, *fresh])
  if hop == 0:
    if len(held):
      yield Chunk(0, held, _running_level(held, level))
  elif len(held) > chunk_length:
    start += len(held) - chunk_length
    samples = held[-chunk_length:]
    yield Chunk(start, samples, _running_level(samples, level))


def _running_level(samples, level):
  """The RMS of a chunk, or of a louder one not long ago."""
  power = np.mean(np.square(samples, dtype=np.float64))
  return float(np.sqrt(max(power, _LEVEL_DECAY * level**2)))


def _hop(samples, level, overlap):
  """Samples from the start of a chunk to that of the next one."""
  longest = len(samples) - overlap
  shortest = min(longest, max(1, len(samples) // 4))
  size = max(1, overlap // _FRAMES_PER_OVERLAP)
  # Frames from the end backwards: how much speech an overlap would hold.
  num_frames = (len(samples) - shortest) // size
  frames = samples[len(samples) - num_frames * size :].reshape(-1, size)
  power = np.mean(np.square(frames, dtype=np.float64), axis=-1)[::-1]
  speech = np.cumsum(power > _ACTIVE_POWER * level**2) * size
  if not num_frames or not speech[-1]:
    return longest
  enough = min(overlap // 2, int(speech[-1]))
  reach = (int(np.argmax(speech >= enough)) + 1) * size
  return min(longest, max(shortest, len(samples) - reach))
