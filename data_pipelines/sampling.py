"""Draws that examples are made of, as functions of an example's index.

Example `i` of a run is a pure function of `(seed, i)` and the corpus: no
generator is advanced or saved, and any host can make any example.

`shuffle` visits all rows in a new order each epoch without an array of them.
`uniform` hashes counters into numbers in [0, 1); one counter is the use, so
that a new use never changes another. `Rows` and `Rooms` draw rows of a corpus
with them, and `Blocks` makes draws cheap.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np

from data_pipelines._tensorflow import hide_accelerators, tf
from data_pipelines.files import CorpusError
from data_pipelines.table import Corpus

# One stream of draws for each use.
_EPOCH, _OTHER, _START, _SPEED, _NOISE, _NOISE_START, _ROOM, _RIR, _SAME = (
  range(9)
)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(value: np.ndarray) -> np.ndarray:
  """The finaliser of splitmix64: each input bit flips half the output."""
  value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return value ^ (value >> np.uint64(31))


def bits(seed: int, *counters: np.ndarray | int) -> np.ndarray:
  """64 random bits, uint64, for each combination of integers; order counts."""
  shape = np.broadcast_shapes(*(np.shape(c) for c in counters))
  # Arrays of one dimension or more wrap around silently, scalars warn.
  state = np.full((1, *shape), seed % 2**64, dtype=np.uint64)
  for counter in counters:
    counter = np.asarray(counter).astype(np.int64).astype(np.uint64)
    state = _mix((state ^ _mix(counter[None] + _GOLDEN)) + _GOLDEN)
  return state[0]


def uniform(seed: int, *counters: np.ndarray | int) -> np.ndarray:
  """float64 in [0, 1) for each combination of counters; see `bits`."""
  return (bits(seed, *counters) >> np.uint64(11)) * 2.0**-53


def below(
  size: np.ndarray | int, seed: int, *counters: np.ndarray | int
) -> np.ndarray:
  """An integer in [0, size) for each combination of counters."""
  drawn = uniform(seed, *counters) * np.asarray(size, dtype=np.float64)
  return np.minimum(drawn.astype(np.int64), np.asarray(size) - 1)


def shuffle(index: np.ndarray, *, size: int, seed: int) -> np.ndarray:
  """Which of `size` things each step visits: all once per epoch, int64 [B]."""
  hide_accelerators()
  index = np.asarray(index, dtype=np.int64)
  epoch, position = np.divmod(index, size)
  # tf.random.experimental.index_shuffle is this op without a seed for each
  # index. Consecutive seeds give related orders, hence the hash; with four
  # rounds neighbours stay neighbours too often, hence eight.
  seeds = bits(seed, _EPOCH, epoch[:, None], np.arange(3)).astype(np.int64)
  with tf.device("CPU"):
    return tf.raw_ops.RandomIndexShuffle(
      index=position, seed=seeds, max_index=np.int64(size - 1), rounds=8
    ).numpy()


def shuffle_groups(
  index: np.ndarray, *, size: int, seed: int, group: int
) -> np.ndarray:
  """As `shuffle`, but no group of steps visits a thing twice.

  Groups begin at multiples of `group`: with the batch size, a walk through
  speakers gives batches of distinct ones. An epoch ends with the last full
  group, without a few things that are others in each epoch.
  """
  if not 1 <= group <= size:
    raise ValueError(f"group is {group}, expected 1 to the size, {size}")
  epoch, place = np.divmod(np.asarray(index, np.int64), size // group * group)
  return shuffle(epoch * size + place, size=size, seed=seed)


def crop_share(seed: int, index: np.ndarray, use: int | np.ndarray = 0):
  """Where crops begin, as shares in [0, 1) of the possible places."""
  return uniform(seed, index, _START, use, 0)


def speed(
  seed: int,
  index: np.ndarray,
  use: int | np.ndarray,
  speed_range: tuple[float, float],
) -> np.ndarray:
  """Speeds drawn uniformly from a range."""
  low, high = speed_range
  return low + (high - low) * uniform(seed, index, _SPEED, use, 0)


def noise_row(seed: int, index: np.ndarray, size: int) -> np.ndarray:
  """Which of `size` noises each example gets."""
  return below(size, seed, index, _NOISE)


def noise_share(seed: int, index: np.ndarray) -> np.ndarray:
  """Where the noise of each example begins, as a share in [0, 1)."""
  return uniform(seed, index, _NOISE_START)


class Rows:
  """Draws rows of a corpus: all in turn, of another or of the same speaker."""

  def __init__(
    self, corpus: Corpus, *, seed: int, seconds_per_draw: float | None = None
  ):
    """Prepares the tables.

    With `seconds_per_draw`, rows are drawn in proportion to their duration in
    these units, rounded up.
    """
    if not len(corpus):
      raise CorpusError(f"{corpus.title} is empty")
    self.seed = seed
    self.speaker = corpus.speaker
    self._members = _groups(corpus.speaker, np.ones(len(corpus)))
    # A slot is a chance to be drawn; those of a speaker lie side by side.
    chances = np.ones(len(corpus))
    if seconds_per_draw is not None:
      seconds = corpus.length / corpus.rate_hz
      chances = np.maximum(np.ceil(seconds / seconds_per_draw), 1)
    self._slots, self._first, self._count = _groups(corpus.speaker, chances)

  @property
  def epoch_size(self) -> int:
    """Examples in which `walk` visits everything."""
    return len(self._slots)

  def walk(self, index: np.ndarray) -> np.ndarray:
    """Rows [B], all of them once per epoch, in a new order each epoch."""
    slot = shuffle(index, size=self.epoch_size, seed=self.seed)
    return self._slots[slot]

  def another_speaker(
    self, index: np.ndarray, rows: np.ndarray, use: int
  ) -> np.ndarray:
    """Rows [B], uniform over the speakers that `rows` [B, R] do not have."""
    used = self.speaker[rows]
    free = self.epoch_size - self._count[used].sum(axis=1)
    slot = below(free, self.seed, index, _OTHER, use, 0)
    # Skip the slots of the used speakers in their order.
    for speaker in np.sort(used, axis=1).T:
      slot += np.where(slot >= self._first[speaker], self._count[speaker], 0)
    return self._slots[slot]

  def of_speaker(
    self, index: np.ndarray, speaker: np.ndarray, count: int
  ) -> np.ndarray:
    """Rows [B, count] of `speaker` [B], different where there are enough.

    Each row is equally likely, whatever its duration.
    """
    return _members(self._members, index, speaker, count, self.seed, _SAME)

  def same_speaker(self, index: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Another row of each row's speaker, [B]; the same if it has no other."""
    two = self.of_speaker(index, self.speaker[rows], 2)
    return np.where(two[:, 0] == rows, two[:, 1], two[:, 0])


class Rooms:
  """Draws RIRs of one room, a "speaker" of the corpus, for each example."""

  def __init__(self, rirs: Corpus, *, seed: int):
    """Prepares the tables."""
    self.seed = seed
    self.room = rirs.speaker
    self._groups = _groups(rirs.speaker, np.ones(len(rirs)))

  def draw(self, index: np.ndarray, num_sources: int) -> np.ndarray:
    """Rows [B, S] of a room, which is drawn in proportion to its RIRs."""
    order = self._groups[0]
    drawn = order[below(len(order), self.seed, index, _ROOM)]
    room = self.room[drawn]
    return _members(self._groups, index, room, num_sources, self.seed, _RIR)


def _groups(group: np.ndarray, times: np.ndarray):
  """Rows by group, each so many times; each group's first place and size."""
  order = np.argsort(group, kind="stable")
  order = np.repeat(order, times[order].astype(np.int64))
  count = np.bincount(group[order])
  return order, np.cumsum(count) - count, count


def _members(groups, index, group, num, seed, stream) -> np.ndarray:
  """Rows [B, num] of groups [B], each row once before any comes again."""
  order, first, count = groups
  rows = np.empty((len(index), num), dtype=np.int64)
  for b, g in enumerate(group):
    # Sorting random keys: a permutation of the members.
    keys = bits(seed, index[b], stream, np.arange(int(count[g])))
    rows[b] = np.resize(order[first[g] + np.argsort(keys)], num)
  return rows


class Blocks:
  """Draws for 64 examples at once, which costs about as much as for one."""

  _SIZE = 64

  def __init__(self, draw: Callable[[np.ndarray], dict[str, np.ndarray]]):
    """Takes a function from indices `[B]` to arrays `[B, ...]` by name."""
    self._block = functools.lru_cache(64)(
      lambda block: draw(np.arange(self._SIZE) + block * self._SIZE)
    )

  def __call__(self, index: int) -> dict[str, np.ndarray]:
    """What was drawn for an example, by name."""
    block, place = divmod(int(index), self._SIZE)
    return {name: drawn[place] for name, drawn in self._block(block).items()}


def following(row: int, size: int) -> Iterator[int]:
  """A row, those after it and those before it: candidates in turn."""
  for step in range(size):
    yield (row + step) % size
