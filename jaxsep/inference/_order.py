"""Finds the order of the outputs over a whole recording."""

import itertools

import numpy as np

from jaxsep.inference._speakers import SpeakerModel
from jaxsep.typing import Float

# Hypotheses that are followed: many, because those that differ in the last few
# steps only would push all others out.
_BEAM = 512
_MOST_SOURCES = 6
# Log-likelihood ratios for an output that keeps its speaker in the next step,
# if one source is active and if all are: models move a speaker who is alone.
_ONE_STAYS, _ALL_STAY = 1.0, 4.0


class OrderSearch:
  """Beam search for the permutation of each step, settled with a delay.

  A step is a stretch of the model's outputs that all keep their order. A
  hypothesis is one permutation per step; it has a memory of each speaker,
  which are the descriptors that it has assigned to the speaker. Its score is a
  sum of log-likelihood ratios: of the descriptors of a step against the
  memories, and of the waveforms that neighbouring steps share.
  """

  def __init__(self, num_sources: int, speakers: SpeakerModel, *, lag: int):
    if num_sources > _MOST_SOURCES:
      raise ValueError(
        f"{num_sources} sources have too many orders to search: give a `join`"
        f" of your own for more than {_MOST_SOURCES}"
      )
    orders = itertools.permutations(range(num_sources))
    self._orders = np.array(list(orders))
    self._speakers, self._lag = speakers, lag
    self._score = np.zeros(1)
    self._last = np.zeros(1, int)  # The index of the last permutation.
    self._past = np.zeros((1, 0), int)  # Those that are not settled.
    # Sums of weighted descriptors, and of the weights, by speaker.
    self._sum = np.zeros((1, num_sources, speakers.size))
    self._weight = np.zeros((1, num_sources))
    self._is_first = True

  def add(
    self,
    link: Float[np.ndarray, "sources sources"],
    descriptors: Float[np.ndarray, "sources size"],
    weights: Float[np.ndarray, "sources"],
  ) -> list[np.ndarray]:
    """Adds a step.

    Args:
      link: Log-likelihood ratios: that an output of the step before (row) and
        one of this step (column) are of the same source.
      descriptors: Of each output.
      weights: Of the descriptors; 0 if nothing is heard.

    Returns:
      The orders that are settled now, of the oldest steps: item s is the output
      of source s.
    """
    orders = self._orders
    fit = self._speakers.compare(self._sum, self._weight, descriptors, weights)
    source = np.arange(orders.shape[1])
    gain = fit[:, source, orders].sum(axis=-1)  # [hypotheses, orders]
    before = orders[self._last]
    gain += link[before[:, np.newaxis], orders].sum(axis=-1)
    if self._is_first:  # Any order will do.
      gain[:, 1:] = -np.inf
    elif not weights.any():  # No later step could tell the others apart.
      gain[gain < gain.max(axis=1, keepdims=True)] = -np.inf
    self._is_first = False
    total = (self._score[:, np.newaxis] + gain).ravel()
    best = np.argsort(-total, kind="stable")[:_BEAM]
    best = best[total[best] > -np.inf]
    parent, order = np.divmod(best, len(orders))
    self._take(parent)
    self._score, self._last = total[best] - total[best[0]], order
    self._past = np.concatenate([self._past, order[:, np.newaxis]], axis=1)
    weighted = (weights[:, np.newaxis] * descriptors)[orders[order]]
    self._sum = self._sum + weighted
    self._weight = self._weight + weights[orders[order]]
    return self._settle(self._lag)

  @property
  def now(self) -> np.ndarray:
    """The order of the last step, as far as one can say yet."""
    return self._orders[self._last[0]]

  def flush(self) -> list[np.ndarray]:
    """The orders of the steps that are left."""
    return self._settle(0)

  def _settle(self, lag):
    settled = []
    while self._past.shape[1] > lag:
      order = self._past[0, 0]
      self._take(np.flatnonzero(self._past[:, 0] == order))
      self._past = self._past[:, 1:]
      settled.append(self._orders[order])
    return settled

  def _take(self, rows):
    self._score, self._last = self._score[rows], self._last[rows]
    self._past, self._weight = self._past[rows], self._weight[rows]
    self._sum = self._sum[rows]


def stays(weights: Float[np.ndarray, "sources"]) -> float:
  """How much is in favour of one order, by how long outputs are active."""
  share = len(weights) * weights.min() / max(weights.sum(), 1e-9)
  return _ONE_STAYS + (_ALL_STAY - _ONE_STAYS) * share


def fade(length: int) -> Float[np.ndarray, "time"]:
  """Rises from 0 to 1 over the middle half."""
  place = (np.arange(length) + 0.5) / length
  ramp = np.clip(2 * place - 0.5, 0.0, 1.0)
  return (np.sin(np.pi / 2 * ramp) ** 2).astype(np.float32)
