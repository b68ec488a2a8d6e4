"""Brings estimates to the level of the mixture.

Gains depend only on the inner products of the estimates with each other, `gram
[S, S]`, not all zero, and with the mixture, `match [S]`.
"""

import numpy as np

from jaxsep.typing import Float

# Strength of the penalty on the distance from the usual gains, as a share of
# the mean energy of the sources. It decides for sources 15 dB below the others,
# so that the leakage in the output of a silent source is not scaled up.
_INERTIA = 0.03
# The energy of the sum of the estimates is taken to be at least this share of
# the sum of their energies: if the estimates cancel each other, their sum does
# not determine a gain.
_CANCELLED = 0.1
# Energy 90 dB below the mean is rounding.
_ROUNDING = 1e-9


class RunningGains:
  """Scales estimates that come chunk by chunk to add up to the mixture.

  Each output of a model may have its own scale and sign. The gains, one per
  source, are the least-squares ones over the past, with exponential forgetting.
  An output that explains little of the mixture gets the best common gain of all
  outputs. Gains change linearly over a chunk. Silence changes nothing.

  Example:
    >>> levels = RunningGains(2, half_life=8000)
    >>> sources = np.sin(np.outer([0.1, 0.2], np.arange(4000)))
    >>> mixture, estimates = sources.sum(0), sources * [[1], [-10]]
    >>> scaled = levels.apply(mixture, estimates)
    >>> bool(np.abs(scaled - sources).max() < 0.1)
    True
  """

  def __init__(self, num_sources: int, *, half_life: float | int):
    """Starts a recording; `half_life` of the past's weight is in samples."""
    if not half_life > 0:
      raise ValueError(f"half_life must be positive, got {half_life}")
    self._half_life = half_life
    self._gram = np.zeros((num_sources, num_sources))
    self._match = np.zeros(num_sources)
    self._gains: np.ndarray | None = None

  def apply(
    self,
    mixture: Float[np.ndarray, "time"],
    estimates: Float[np.ndarray, "sources time"],
  ) -> Float[np.ndarray, "sources time"]:
    """Scales the next chunk.

    Args:
      mixture: The mixture, at the same time as the estimates, shape `[T]`.
      estimates: The estimates of the model, shape `[S, T]`.

    Returns:
      The scaled estimates, float32, shape `[S, T]`.
    """
    estimates = estimates.astype(np.float64)
    length = estimates.shape[1]
    decay = 0.5 ** (length / self._half_life)
    self._gram = decay * self._gram + estimates @ estimates.T
    self._match = decay * self._match + estimates @ mixture
    before = self._gains
    if self._gram.trace() > np.finfo(np.float32).tiny:
      common = common_gain(self._gram, self._match)
      self._gains = gains(self._gram, self._match, common)
    if self._gains is None:
      return np.zeros(estimates.shape, np.float32)
    if before is None:
      before = self._gains
    place = np.arange(1, length + 1) / max(length, 1)
    moving = before[:, None] + (self._gains - before)[:, None] * place
    return (moving * estimates).astype(np.float32)


def common_gain(
  gram: Float[np.ndarray, "sources sources"],
  match: Float[np.ndarray, "sources"],
) -> float:
  """The one gain for all estimates that explains the mixture best."""
  return match.sum() / max(gram.sum(), _CANCELLED * np.trace(gram))


def gains(
  gram: Float[np.ndarray, "sources sources"],
  match: Float[np.ndarray, "sources"],
  usual: Float[np.ndarray, "..."] | float,
) -> Float[np.ndarray, "sources"]:
  """Least-squares gains, near the usual ones where an estimate explains little.

  A first solution with a weak penalty brings the estimates to the level of the
  mixture. Their energies there, which do not depend on the scale of the model,
  set the penalty of each estimate in the second solution. `usual` has the
  shape `[S]`, or is one gain for all.
  """
  energy = np.diag(gram)
  # Estimates of energy one, for the numerics.
  scale = np.sqrt(energy + _ROUNDING * energy.mean())
  gram, match = gram / np.outer(scale, scale), match / scale
  usual = scale * usual
  explained = np.square(_near(gram, match, usual, np.full(len(gram), _INERTIA)))
  explained *= np.diag(gram)
  mean = explained.mean()
  if not mean:
    return usual / scale
  inertia = _INERTIA * mean / np.maximum(explained, _ROUNDING * mean)
  return _near(gram, match, usual, inertia) / scale


def _near(gram, match, usual, inertia):
  """Least squares with a penalty on the distance from the usual."""
  return np.linalg.solve(gram + np.diag(inertia), match + inertia * usual)
