"""Keeps the speakers of a stream in their outputs."""

import numpy as np

from jaxsep.inference._even_level import MODEL_LEVEL
from jaxsep.inference._order import OrderSearch, fade, stays
from jaxsep.inference._speakers import speaker_model
from jaxsep.typing import Float

_STEP_S = 1.0
# Decisions that the search may still revise.
_LAG = 60
# Decay of the loudest level per step: a half-life of 7 s.
_DECAY = 0.9
# Seconds in which the order changes.
_SWITCH_S = 0.05


class LiveOrder:
  """Exchanges the outputs of a stream when speakers have changed theirs.

  After each second, it asks `OrderSearch` which output each speaker is in. What
  has been given stays; from then on outputs are in that order. So nothing is
  delayed, and a second or two of a speaker who changes is in the wrong output.

  Example:
    >>> keep = LiveOrder(2, sample_rate_hz=8000)
    >>> sources = np.random.default_rng(0).normal(0, 0.1, (2, 160))
    >>> bool((keep.apply(sources) == sources).all())
    True
  """

  def __init__(self, num_sources: int, *, sample_rate_hz: int):
    self._speakers = speaker_model(sample_rate_hz)
    self._search = OrderSearch(num_sources, self._speakers, lag=_LAG)
    self._step = round(_STEP_S * sample_rate_hz)
    self._ramp = fade(round(_SWITCH_S * sample_rate_hz))
    self._order = self._before = np.arange(num_sources)
    # Of the step, in the model's order.
    self._heard = np.zeros((num_sources, 0))
    self._since = len(self._ramp)  # Samples since the order changed.
    self._loudest, self._link = 0.0, np.zeros((num_sources, num_sources))

  def apply(
    self, sources: Float[np.ndarray, "sources time"]
  ) -> Float[np.ndarray, "sources time"]:
    """Orders the next samples, shape `[S, any]`."""
    parts, begin = [], 0
    while begin < sources.shape[1]:
      part = sources[:, begin : begin + self._step - self._heard.shape[1]]
      begin += part.shape[1]
      parts.append(self._ordered(part))
      self._heard = np.concatenate([self._heard, part], axis=1)
      if self._heard.shape[1] == self._step:
        self._decide()
        self._heard = self._heard[:, :0]
    return np.concatenate([sources[:, :0], *parts], axis=1)

  def _ordered(self, part):
    ordered = part[self._order]
    ramp = self._ramp[self._since : self._since + part.shape[1]]
    if len(ramp):
      old = part[self._before, : len(ramp)]
      ordered[:, : len(ramp)] = old + ramp * (ordered[:, : len(ramp)] - old)
    self._since += part.shape[1]
    return ordered

  def _decide(self):
    level = np.sqrt(np.mean(np.square(self._heard.sum(axis=0))))
    self._loudest = max(level, _DECAY * self._loudest)
    gain = MODEL_LEVEL / self._loudest if self._loudest else 0.0
    descriptors, weights = self._speakers.describe(gain * self._heard)
    self._search.add(self._link, descriptors, weights)
    self._link = stays(weights) * np.eye(len(weights))
    order = self._search.now
    if (order != self._order).any():
      self._before, self._order, self._since = self._order, order, 0
