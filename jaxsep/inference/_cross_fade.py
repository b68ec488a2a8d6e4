"""Joins separated chunks into one recording per source."""

import collections
import itertools

import numpy as np

from jaxsep.inference._even_level import MODEL_LEVEL
from jaxsep.inference._gains import common_gain, gains
from jaxsep.inference._order import OrderSearch, fade, stays
from jaxsep.inference._overlapping import Chunk
from jaxsep.inference._speakers import speaker_model
from jaxsep.typing import Float

# Decay of the gains of the recording: a half-life of about 14 chunks.
_GAIN_DECAY = 0.95
# The order may change within a chunk after this time, and is settled after so
# many further steps.
_STEP_S = 1.0
_LAG = 60
# Log-likelihood ratios of equal waveforms in an overlap, and of keeping the
# model's order from chunk to chunk.
_AGREES, _SAME_ORDER = 3.0, 0.05
# Overlaps of this many samples count half.
_HALF_TRUSTED = 200
# Energy below this share of the recording's level is no evidence.
_EVIDENCE_FLOOR = 1e-3 * MODEL_LEVEL**2
# A source is active in frames where it is less than 6 dB below the loudest
# one: the rest may be leakage from other sources.
_FRAME = 256
_LOUD = 0.25
# Seconds in which the order changes within a chunk.
_SWITCH_S = 0.05


class CrossFade:
  """Joins overlapping chunks: scales, orders and cross-fades their sources.

  For each chunk it settles

  - the level: least-squares gains with which the sources add up to the
    mixture, kept near those of the recording so far;
  - the order, for each second of a chunk, by a search over the recording: the
    waveforms should agree with the chunk before on the overlap; a source should
    sound like its speaker before; and the order should rarely change within a
    chunk, least of all where several sources are active. It is settled 60
    steps of a second later, and so are the samples that `add` returns: as
    chunks overlap, that is about 45 s with chunks of 4 s;
  - the seam: a cross-fade over the middle half of the overlap, because the
    ends of a chunk are separated without the context beyond them.
  """

  def __init__(self, num_sources: int, *, sample_rate_hz: int):
    self._rate = sample_rate_hz
    self._speakers = speaker_model(sample_rate_hz)
    self._search = OrderSearch(num_sources, self._speakers, lag=_LAG)
    # Of the model's outputs, in its order: a scale belongs to an output.
    self._gram = np.zeros((num_sources, num_sources))
    self._match = np.zeros(num_sources)
    self._end = 0  # Of the last chunk.
    self._last = np.zeros((num_sources, 0))  # Its sources in the model's order.
    # Chunks, and settled orders of their steps, that are not joined yet.
    self._chunks: collections.deque = collections.deque()
    self._orders: collections.deque = collections.deque()
    self._start = 0  # Of what is joined, but not given.
    self._pending = np.zeros((num_sources, 0), np.float32)

  def add(
    self, chunk: Chunk, estimate: Float[np.ndarray, "sources time"]
  ) -> Float[np.ndarray, "sources _finished"]:
    """Adds a chunk; no later one may begin before it.

    Args:
      chunk: The chunk of the recording, at an even level (`EvenLevel`).
      estimate: The model's output for it, at any level, shape `[S, T]`.

    Returns:
      Samples that were not given yet, shape `[S, any]`.
    """
    if chunk.samples.any() and estimate.any():
      sources = self._scale(chunk.samples, estimate)
    else:
      sources = np.zeros(estimate.shape)
    num_sources, length = len(sources), len(sources[0])
    before = len(self._last[0]) - (self._end - chunk.start)
    shared = self._last[:, before:]
    link = _agreement(shared, sources) + _SAME_ORDER * np.eye(num_sources)
    num_steps = max(1, round(length / (_STEP_S * self._rate)))
    bounds = np.linspace(0, length, num_steps + 1).astype(int)
    described = [
      self._speakers.describe(sources[:, begin:end])
      for begin, end in itertools.pairwise(bounds)
    ]
    for n, (descriptors, weights) in enumerate(described):
      self._orders += self._search.add(link, descriptors, weights)
      around = np.sum([weights for _, weights in described[n : n + 2]], axis=0)
      link = stays(around) * np.eye(num_sources)
    self._last, self._end = sources, chunk.start + length
    self._chunks.append((chunk.start, bounds, sources.astype(np.float32)))
    return self._joined()

  def flush(self) -> Float[np.ndarray, "sources _finished"]:
    """The rest of the recording, shape `[S, any]`."""
    self._orders += self._search.flush()
    return np.concatenate([self._joined(), self._pending], axis=1)

  def _scale(self, mixture, estimate):
    """The estimates at the level of the mixture."""
    estimate = estimate.astype(np.float64)
    gram, match = estimate @ estimate.T, estimate @ mixture.astype(np.float64)
    self._gram = _GAIN_DECAY * self._gram + gram
    self._match = _GAIN_DECAY * self._match + match
    common = common_gain(self._gram, self._match)
    usual = gains(self._gram, self._match, common)
    return gains(gram, match, usual)[:, np.newaxis] * estimate

  def _joined(self):
    """Samples before the last chunk whose order is settled."""
    parts = [self._pending[:, :0]]
    while self._chunks and len(self._orders) >= len(self._chunks[0][1]) - 1:
      start, bounds, sources = self._chunks.popleft()
      orders = [self._orders.popleft() for _ in bounds[1:]]
      sources = self._in_order(sources, orders, bounds)
      kept = start - self._start
      shared = self._pending[:, kept:]
      overlap = shared.shape[1]
      if overlap:
        ramp = fade(overlap)
        sources[:, :overlap] = shared + ramp * (sources[:, :overlap] - shared)
      parts.append(self._pending[:, :kept])
      self._start, self._pending = start, sources
    return np.concatenate(parts, axis=1)

  def _in_order(self, sources, orders, bounds):
    """Sources whose order may change at the bounds."""
    ordered = sources[orders[0]]
    half = round(_SWITCH_S * self._rate / 2)
    for bound, before, after in zip(
      bounds[1:], orders, orders[1:], strict=False
    ):
      if (before != after).any():
        ordered[:, bound:] = sources[after, bound:]
        around = slice(bound - half, bound + half)
        old, new = sources[before, around], sources[after, around]
        ordered[:, around] = old + fade(2 * half) * (new - old)
    return ordered


def _agreement(shared, sources):
  """How much an overlap says: outputs before (rows), and now (columns)."""
  length = shared.shape[1]
  begin = sources[:, :length]
  is_active = _active(shared)
  shared = shared * is_active
  energy = np.sqrt(np.sum(begin**2) * np.sum(shared**2))
  num_active = np.count_nonzero(shared.any(axis=0))
  trust = num_active / (num_active + _HALF_TRUSTED)
  return (
    _AGREES
    * trust
    * (shared @ begin.T)
    / (energy + _EVIDENCE_FLOOR * max(length, 1))
  )


def _active(sources):
  """Whether each source is among the loudest, in frames."""
  length = sources.shape[1]
  padded = np.pad(sources, ((0, 0), (0, -length % _FRAME)))
  power = np.square(padded).reshape(len(sources), -1, _FRAME).sum(axis=-1)
  is_active = (power >= _LOUD * power.max(axis=0)) & (power > 0)
  return np.repeat(is_active, _FRAME, axis=1)[:, :length]
