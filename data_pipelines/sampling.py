"""What each training example is made of, as a function of its number.

Example `i` of a run is a pure function of `(seed, i)` and the corpus. There
is no generator that has to be advanced or saved: a run is resumed by
counting on from where it stopped, and any host can work out any example.

Two tools do it. `shuffle` walks through all utterances in a new order each
epoch without holding the order in memory. `uniform` hashes counters into
numbers in [0, 1), one for each use, so that a new use never shifts another.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from data_pipelines._tensorflow import hide_accelerators, tf
from data_pipelines.files import CorpusError
from data_pipelines.table import Corpus

# One stream of draws for each use.
_EPOCH, _PARTNER, _START, _SPEED, _NOISE, _NOISE_START, _ROOM, _RESPONSE = (
  range(8)
)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(value: np.ndarray) -> np.ndarray:
  """The finaliser of splitmix64: each input bit flips half the output."""
  value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return value ^ (value >> np.uint64(31))


def bits(seed: int, *counters: np.ndarray | int) -> np.ndarray:
  """64 random bits for each combination of counters.

  Args:
    seed: Seed of the run.
    *counters: Integers that broadcast against each other; their order counts.

  Returns:
    uint64, of the broadcast shape.
  """
  shape = np.broadcast_shapes(*(np.shape(c) for c in counters))
  # Arrays of one dimension or more wrap around silently, scalars warn.
  state = np.full((1, *shape), seed % 2**64, dtype=np.uint64)
  for counter in counters:
    counter = np.asarray(counter).astype(np.int64).astype(np.uint64)
    state = _mix((state ^ _mix(counter[None] + _GOLDEN)) + _GOLDEN)
  return state[0]


def uniform(seed: int, *counters: np.ndarray | int) -> np.ndarray:
  """A number in [0, 1) for each combination of counters; see `bits`.

  Args:
    seed: Seed of the run.
    *counters: Integers that broadcast against each other; their order counts.

  Returns:
    float64, of the broadcast shape.

  Example:
    >>> drawn = uniform(0, np.arange(1000))
    >>> bool(drawn[7] == uniform(0, 7))
    True
    >>> round(float(drawn.mean()), 1)
    0.5
  """
  return (bits(seed, *counters) >> np.uint64(11)) * 2.0**-53


def below(
  size: np.ndarray | int, seed: int, *counters: np.ndarray | int
) -> np.ndarray:
  """An integer in [0, size) for each combination of counters."""
  drawn = uniform(seed, *counters) * np.asarray(size, dtype=np.float64)
  return np.minimum(drawn.astype(np.int64), np.asarray(size) - 1)


def shuffle(index: np.ndarray, *, size: int, seed: int) -> np.ndarray:
  """Where a walk in random order through `size` things is at each step.

  Each block of `size` steps visits everything once, in an order of its own.

  Args:
    index: Steps, shape `[B]`.
    size: How many things there are.
    seed: Seed of the run.

  Returns:
    int64 in [0, size), shape `[B]`.

  Example:
    >>> walk = shuffle(np.arange(10), size=5, seed=0)
    >>> sorted(walk[:5].tolist()), sorted(walk[5:].tolist())
    ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])
  """
  hide_accelerators()
  index = np.asarray(index, dtype=np.int64)
  epoch, position = np.divmod(index, size)
  # tf.random.experimental.index_shuffle is this op, but takes no seed for
  # each index. Consecutive seeds give related orders, hence the hash; with
  # four rounds neighbours stay neighbours too often, hence the eight.
  seeds = bits(seed, _EPOCH, epoch[:, None], np.arange(3)).astype(np.int64)
  with tf.device("CPU"):
    return tf.raw_ops.RandomIndexShuffle(
      index=position, seed=seeds, max_index=np.int64(size - 1), rounds=8
    ).numpy()


@dataclasses.dataclass(frozen=True, eq=False)
class Recipe:
  """What some examples are made of. B examples, S sources.

  Attributes:
    index: Numbers of the examples, int64, shape `[B]`.
    row: Utterance of each source, `[B, S]`.
    start: Where its crop begins, as a share in [0, 1) of the possible places,
      `[B, S]`.
    speed: How much faster it is played, `[B, S]`.
    noise_row: Noise of each example, `[B]`; empty without noise.
    noise_start: Where it begins, as a share of its length, `[B]`.
    rir_row: Room response of each source, `[B, S]`; empty without rooms.
  """

  index: np.ndarray
  row: np.ndarray
  start: np.ndarray
  speed: np.ndarray
  noise_row: np.ndarray
  noise_start: np.ndarray
  rir_row: np.ndarray


class Sampler:
  """Draws recipes from a corpus.

  The first source of the examples walks through all utterances in a new
  order each epoch. The others are drawn uniformly from all utterances of the
  speakers that the example does not have yet.
  """

  def __init__(
    self,
    corpus: Corpus,
    *,
    num_sources: int,
    seed: int,
    speed_range: tuple[float, float] | None = None,
    noise: Corpus | None = None,
    rirs: Corpus | None = None,
    seconds_per_draw: float | None = None,
  ):
    """Checks the corpus and prepares the tables.

    Args:
      corpus: The utterances.
      num_sources: Sources in each example, each of another speaker.
      seed: Seed of the run.
      speed_range: Slowest and fastest speed, such as `(0.95, 1.05)`; the
        speed of each source is drawn uniformly between them. None keeps 1.
      noise: Noises, of which each example gets one.
      rirs: Room responses. All sources of an example get responses of one
        room (one speaker of this corpus), different ones where it has enough.
      seconds_per_draw: None draws every utterance equally often. A number
        draws utterances in proportion to their duration in units of this,
        rounded up: give the duration of the crop.

    Raises:
      CorpusError: If there are fewer speakers than sources, or no utterance.
      ValueError: If the speeds are not positive and in order.
    """
    self.seed = seed
    self.num_sources = num_sources
    if num_sources < 1:
      raise ValueError(f"num_sources is {num_sources}, expected at least 1")
    if not len(corpus):
      raise CorpusError(f"{corpus.root or 'the corpus'} holds no utterance")
    num_speakers = len(np.unique(corpus.speaker))
    if num_speakers < num_sources:
      raise CorpusError(
        f"{corpus.root or 'the corpus'} has {num_speakers} speakers,"
        f" too few for mixtures of {num_sources} different ones"
      )
    for name, other in (("noise", noise), ("rirs", rirs)):
      if other is not None and not len(other):
        raise CorpusError(f"the corpus given as {name} is empty")
    self.speed_range = speed_range or (1.0, 1.0)
    if not 0 < self.speed_range[0] <= self.speed_range[1]:
      raise ValueError(
        f"speed_range is {speed_range}, expected 0 < slowest <= fastest"
      )
    self._num_noises = 0 if noise is None else len(noise)
    # A slot is a chance to be drawn; slots of a speaker lie side by side.
    slots = np.argsort(corpus.speaker, kind="stable")
    if seconds_per_draw is not None:
      seconds = corpus.length[slots] / corpus.rate_hz[slots]
      repeats = np.maximum(np.ceil(seconds / seconds_per_draw), 1)
      slots = np.repeat(slots, repeats.astype(np.int64))
    self._slots = slots
    self._speaker = np.asarray(corpus.speaker)
    self._count = np.bincount(
      self._speaker[slots], minlength=len(corpus.speakers)
    )
    self._first = np.cumsum(self._count) - self._count
    self._rooms: Any = None
    if rirs is not None:
      order = np.argsort(rirs.speaker, kind="stable")
      count = np.bincount(rirs.speaker, minlength=len(rirs.speakers))
      self._rooms = (order, count, np.cumsum(count) - count, rirs.speaker)

  @property
  def epoch_size(self) -> int:
    """Examples in which the first source has been through everything."""
    return len(self._slots)

  def draw(self, index: np.ndarray) -> Recipe:
    """The recipes of some examples.

    Args:
      index: Numbers of the examples, shape `[B]`.

    Returns:
      The recipe.
    """
    index = np.asarray(index, dtype=np.int64)
    rows = np.empty((len(index), self.num_sources), dtype=np.int64)
    slot = shuffle(index, size=self.epoch_size, seed=self.seed)
    rows[:, 0] = self._slots[slot]
    for source in range(1, self.num_sources):
      rows[:, source] = self._partner(index, rows[:, :source], source, 0)
    start, speed = self._crop(index[:, None], np.arange(self.num_sources), 0)
    noisy = index if self._num_noises else index[:0]
    return Recipe(
      index=index,
      row=rows,
      start=start,
      speed=speed,
      noise_row=below(self._num_noises, self.seed, noisy, _NOISE),
      noise_start=uniform(self.seed, noisy, _NOISE_START),
      rir_row=self._responses(index),
    )

  def redraw(
    self,
    rows: np.ndarray,
    index: np.ndarray,
    example: int,
    source: int,
    attempt: int,
  ) -> tuple[int, float, float]:
    """Another utterance for a source whose file could not be read.

    Args:
      rows: Utterances of all sources, `[B, S]`.
      index: Numbers of the examples, `[B]`.
      example: Which of the examples.
      source: Which source of the example.
      attempt: 1 for the first time, 2 for the second ...

    Returns:
      Row, start and speed that take the place of the recipe's. The speaker
      is none of the example's other speakers.
    """
    index = index[example : example + 1]
    others = np.delete(rows[example], source)[None]
    row = self._partner(index, others, source, attempt)[0]
    start, speed = self._crop(index, source, attempt)
    return int(row), float(start[0]), float(speed[0])

  def redraw_response(
    self, rows: np.ndarray, index: int, source: int, attempt: int
  ) -> int:
    """Another room response for a source whose own could not be read.

    Args:
      rows: Responses of all sources of the example, `[S]`.
      index: Number of the example.
      source: Which source of the example.
      attempt: 1 for the first time, 2 for the second ...

    Returns:
      Row of a response of the same room, first of those that no source of the
      example has; of other rooms once all of that one have been tried.
    """
    order, count, first, room_of = self._rooms
    room = room_of[rows[source]]
    if attempt > count[room]:
      return int(order[(first[room] + attempt - 1) % len(order)])
    responses = self._shuffled_room(index, room)
    free_first = np.argsort(np.isin(responses, rows), kind="stable")
    return int(responses[free_first[attempt - 1]])

  def _crop(self, index, source, attempt):
    """Where the crops begin, and their speeds."""
    start = uniform(self.seed, index, _START, source, attempt)
    low, high = self.speed_range
    drawn = uniform(self.seed, index, _SPEED, source, attempt)
    return start, low + (high - low) * drawn

  def _partner(self, index, rows, source, attempt) -> np.ndarray:
    """Rows of speakers that `rows` [B, R] do not have; exactly uniform."""
    used = self._speaker[rows]
    free = self.epoch_size - self._count[used].sum(axis=1)
    slot = below(free, self.seed, index, _PARTNER, source, attempt)
    # Count on past the slots of the used speakers, first ones first.
    for speaker in np.sort(used, axis=1).T:
      slot += np.where(slot >= self._first[speaker], self._count[speaker], 0)
    return self._slots[slot]

  def _responses(self, index: np.ndarray) -> np.ndarray:
    """Room responses [B, S]: a room, then responses in random order."""
    if self._rooms is None:
      return np.empty((0, self.num_sources), dtype=np.int64)
    order, _, _, room_of = self._rooms
    room = room_of[below(len(order), self.seed, index, _ROOM)]
    rows = np.empty((len(index), self.num_sources), dtype=np.int64)
    for b, r in enumerate(room):
      rows[b] = np.resize(self._shuffled_room(index[b], r), self.num_sources)
    return rows

  def _shuffled_room(self, index, room) -> np.ndarray:
    """The responses of a room in the order of an example."""
    order, count, first, _ = self._rooms
    # Sorting random keys: a permutation of this room's responses.
    keys = bits(self.seed, index, _RESPONSE, np.arange(int(count[room])))
    return order[first[room] + np.argsort(keys)]
