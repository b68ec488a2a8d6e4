"""Joins separated chunks into one recording per source."""

import numpy as np

from jaxsep.inference._gains import common_gain, gains
from jaxsep.inference._overlapping import Chunk
from jaxsep.inference._speakers import SpeakerMemory, describe
from jaxsep.typing import Float

# Decay of the gains of the recording: a half-life of about 14 chunks.
_GAIN_DECAY = 0.95
# Energy below this share of the recording's level is no evidence.
_EVIDENCE_FLOOR = 1e-3
# Weights of how the speakers sound, and of the model's order in the chunk
# before; equal waveforms in a long overlap weigh 1, in one of this many
# samples one half.
_MEMORY_WEIGHT = 0.05
_LAST_ORDER_WEIGHT = 0.01
_HALF_TRUSTED = 200

# A source counts in frames where it is less than 6 dB below the loudest one:
# the rest may be leakage from other sources.
_FRAME = 256
_LOUD = 0.25


class CrossFade:
  """Joins overlapping chunks: scales, orders and cross-fades their sources.

  For each chunk it settles

  - the level: least-squares gains with which the sources add up to the
    mixture, kept near those of the recording so far;
  - the order: the permutation whose waveforms agree best with the chunk before
    on the overlap, where a source is loud; for sources that are silent there,
    and in an overlap of few samples, how the speakers sounded before decides;
  - the seam: a cross-fade over the middle half of the overlap, because the
    ends of a chunk are separated without the context beyond them.
  """

  def __init__(self, num_sources: int):
    self._start = 0
    self._pending = np.zeros((num_sources, 0), np.float32)
    self._is_first = True
    self._order = np.arange(num_sources)
    # Of the model's outputs, in its order: a scale belongs to an output.
    self._gram = np.zeros((num_sources, num_sources))
    self._match = np.zeros(num_sources)
    self._speakers = SpeakerMemory(num_sources)

  def add(
    self, chunk: Chunk, estimate: Float[np.ndarray, "sources time"]
  ) -> Float[np.ndarray, "sources _finished"]:
    """Adds a chunk; no later one may begin before it.

    Args:
      chunk: The chunk of the recording.
      estimate: The model's output for it, at any level, shape `[S, T]`.

    Returns:
      The samples before the chunk that were not given yet, shape `[S, any]`.
    """
    overlap = self._start + self._pending.shape[1] - chunk.start
    finished = self._pending[:, : self._pending.shape[1] - overlap]
    shared = self._pending[:, self._pending.shape[1] - overlap :]
    if chunk.samples.any() and estimate.any():
      sources = self._settle(chunk, estimate, shared)
    else:
      sources = np.zeros_like(estimate)
    if overlap:
      fade = _fade(overlap)
      sources[:, :overlap] = shared + fade * (sources[:, :overlap] - shared)
    self._pending = sources
    self._start = chunk.start
    return finished

  def flush(self) -> Float[np.ndarray, "sources _finished"]:
    """The rest of the recording, shape `[S, any]`."""
    return self._pending

  def _settle(self, chunk, estimate, shared):
    """The chunk's sources at their level and in their order."""
    # At a level of one, so that gains suit louder and softer chunks too.
    mixture = chunk.samples.astype(np.float64) / chunk.level
    estimate = estimate.astype(np.float64)
    gram, match = estimate @ estimate.T, estimate @ mixture
    self._gram = _GAIN_DECAY * self._gram + gram
    self._match = _GAIN_DECAY * self._match + match
    common = common_gain(self._gram, self._match)
    usual = gains(self._gram, self._match, common)
    sources = gains(gram, match, usual)[:, np.newaxis] * estimate
    if len(match) > 1:
      spectrum, weight = describe(sources)
      if not self._is_first:
        unlike = _MEMORY_WEIGHT * self._speakers.distance((spectrum, weight))
        unlike[self._order, np.arange(len(match))] -= _LAST_ORDER_WEIGHT
        self._order = _order(sources, shared / chunk.level, unlike)
      sources = sources[self._order]
      self._speakers.update((spectrum[self._order], weight[self._order]))
    self._is_first = False
    return (chunk.level * sources).astype(np.float32)


def _order(estimate, shared, unlike):
  """Which estimate belongs to which source."""
  from scipy import optimize  # Slow to import, and not always needed.

  length = shared.shape[1]
  shared = _where_loud(shared)
  begin = estimate[:, :length]
  energy = np.sqrt(np.sum(begin**2) * np.sum(shared**2))
  floor = _EVIDENCE_FLOOR * max(length, 1)
  num_loud = np.count_nonzero(shared.any(axis=0))
  trust = num_loud / (num_loud + _HALF_TRUSTED)
  cost = unlike - trust * (begin @ shared.T) / (energy + floor)
  # Not with JAX, whose calls would queue behind the model.
  return optimize.linear_sum_assignment(cost.T)[1]


def _where_loud(sources):
  """Each source where it is among the loudest, and zeros elsewhere."""
  num_sources, length = sources.shape
  padded = np.pad(sources, ((0, 0), (0, -length % _FRAME)))
  frames = padded.reshape(num_sources, -1, _FRAME)
  power = np.sum(frames**2, axis=-1)
  is_loud = power >= _LOUD * power.max(axis=0)
  frames = frames * is_loud[..., np.newaxis]
  return frames.reshape(num_sources, -1)[:, :length]


def _fade(length):
  """Rises from 0 to 1 over the middle half."""
  place = (np.arange(length) + 0.5) / length
  ramp = np.clip(2 * place - 0.5, 0.0, 1.0)
  return (np.sin(np.pi / 2 * ramp) ** 2).astype(np.float32)
