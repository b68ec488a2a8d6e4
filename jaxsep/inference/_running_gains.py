"""Brings estimates to the level of the mixture without looking ahead."""

import numpy as np

from jaxsep.inference._gains import common_gain, gains
from jaxsep.typing import Float


class RunningGains:
  """Scales estimates that come chunk by chunk to add up to the mixture.

  Each output of a model may have its own scale and sign. The gains, one per
  source, are the least-squares ones over the past, with exponential forgetting;
  an output that explains little of the mixture gets the gain that suits all
  outputs together. Gains move linearly over a chunk. Silence changes nothing.

  Example:
    >>> levels = RunningGains(2, half_life=8000)
    >>> sources = np.sin(np.outer([0.1, 0.2], np.arange(4000)))
    >>> mixture, estimates = sources.sum(0), sources * [[1], [-10]]
    >>> scaled = levels.apply(mixture, estimates)
    >>> bool(np.abs(scaled - sources).max() < 0.1)
    True
  """

  def __init__(self, num_sources: int, *, half_life: float | int):
    """Starts a recording.

    Args:
      num_sources: Sources.
      half_life: Samples after which the past has half the weight.

    Raises:
      ValueError: If `half_life` is not positive.
    """
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
