"""Cuts a recording into overlapping chunks while it is read."""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from jaxsep.inference._even_level import MODEL_LEVEL
from jaxsep.typing import Float

# Frames down to 30 dB below the level of the recording count as speech.
_ACTIVE_POWER = 1e-3 * MODEL_LEVEL**2
# Frames per overlap, in which speech is looked for.
_FRAMES_PER_OVERLAP = 32


@dataclasses.dataclass(frozen=True)
class Chunk:
  """A part of a recording that goes through the model at once.

  Attributes:
    start: Position of its first sample in the recording.
    samples: The samples, at an even level unless that is switched off, shape
      `[T]`.
    num_zeros: How many at their end are not of the recording, but zeros.
  """

  start: int
  samples: Float[np.ndarray, "time"]
  num_zeros: int = 0


@dataclasses.dataclass(frozen=True)
class Overlapping:
  """Cuts a recording into chunks that overlap their neighbours.

  Every chunk has the same length: the last one begins early enough to end with
  the recording. Only a recording shorter than a chunk makes a shorter one.

  Neighbours share `overlap` samples or more: where these fall into a pause,
  the next chunk begins up to three quarters of a chunk earlier, so that they
  share speech by which to recognise the speakers.

  Attributes:
    chunk_length: Samples per chunk. Longer chunks need more memory, and the
      model may change its order within them.
    overlap: Samples that neighbours share at least; None for a quarter, 0 for
      none at all, except before the last chunk.

  Raises:
    ValueError: If `chunk_length` is not positive, or `overlap` is negative or
      not below it.

  Example:
    >>> chunks = Overlapping(400, 100)([np.ones(1000, np.float32)])
    >>> [(chunk.start, len(chunk.samples)) for chunk in chunks]
    [(0, 400), (300, 400), (600, 400)]
  """

  chunk_length: int
  overlap: int | None = None

  def __post_init__(self):
    if self.chunk_length < 1:
      raise ValueError(
        f"chunk_length must be positive, got {self.chunk_length}"
      )
    if not 0 <= (self.overlap or 0) < self.chunk_length:
      raise ValueError(
        f"overlap must be from 0 to below chunk_length {self.chunk_length},"
        f" got {self.overlap}"
      )

  def __call__(
    self, blocks: Iterable[Float[np.ndarray, "_time"]]
  ) -> Iterator[Chunk]:
    """Cuts a recording that comes in blocks.

    Args:
      blocks: Consecutive parts of the recording at an even level (`EvenLevel`),
        each of shape `[any]`.

    Yields:
      The chunks in their order.
    """
    chunk_length = self.chunk_length
    held = np.zeros(0, np.float32)  # From the start of the last chunk on.
    fresh: list[np.ndarray] = []  # What was read after it.
    missing = chunk_length  # Samples to read until the next chunk is full.
    start = hop = 0  # Of the last chunk; from there to the next one.
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
        yield Chunk(start, samples)
        hop = self._hop(samples)
      missing = hop + chunk_length - len(held)
    held = np.concatenate([held, *fresh])
    unseen = len(held) if hop == 0 else len(held) - chunk_length
    if unseen > 0:
      last = held[-chunk_length:]
      yield Chunk(start + len(held) - len(last), last)

  def _hop(self, samples):
    """Samples from the start of a chunk to that of the next one."""
    overlap = self.overlap
    if overlap is None:
      overlap = self.chunk_length // 4
    longest = len(samples) - overlap
    if not overlap:
      return longest
    shortest = min(longest, max(1, len(samples) // 4))
    size = max(1, overlap // _FRAMES_PER_OVERLAP)
    # Frames from the end backwards: how much speech an overlap would hold.
    num_frames = (len(samples) - shortest) // size
    frames = samples[len(samples) - num_frames * size :].reshape(-1, size)
    power = np.mean(np.square(frames, dtype=np.float64), axis=-1)[::-1]
    speech = np.cumsum(power > _ACTIVE_POWER) * size
    if not num_frames or not speech[-1]:
      return longest
    enough = min(overlap // 2, int(speech[-1]))
    reach = (int(np.argmax(speech >= enough)) + 1) * size
    return min(longest, max(shortest, len(samples) - reach))
