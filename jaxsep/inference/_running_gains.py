"""Brings estimates to the level of the mixture without looking ahead."""

import numpy as np

from jaxsep.inference._stitch import gains
from jaxsep.typing import Float


class RunningGains:
  """Scales estimates that come chunk by chunk to add up to the mixture.

  A model's output may have any scale and sign. The gains, one per source, are
  those that explain the mixture best in the least-squares sense, over all
  that has come so far, the older the less. So the first chunk is scaled by
  itself alone, and gains settle as more comes. They move linearly over a
  chunk, without a step. Silence changes nothing.
  """

  def __init__(self, num_sources: int, *, half_life: float):
    """Starts a recording.

    Args:
      num_sources: Sources.
      half_life: Samples after which what came counts for half.
    """
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
      mixture: The mixture, at the same time as the estimates.
      estimates: What the model made of it.

    Returns:
      The scaled estimates, float32.
    """
    estimates = estimates.astype(np.float64)
    decay = 0.5 ** (estimates.shape[1] / self._half_life)
    self._gram = decay * self._gram + estimates @ estimates.T
    self._match = decay * self._match + estimates @ mixture
    before = self._gains
    if self._gram.trace() > np.finfo(np.float32).tiny:
      # As little as a sum of estimates that cancel may say about their scale.
      energy = max(self._gram.sum(), 1e-6 * self._gram.trace())
      self._gains = gains(self._gram, self._match, self._match.sum() / energy)
    if self._gains is None:
      return np.zeros(estimates.shape, np.float32)
    if before is None:
      before = self._gains
    place = np.arange(1, estimates.shape[1] + 1) / max(estimates.shape[1], 1)
    moving = before[:, None] + (self._gains - before)[:, None] * place
    return (moving * estimates).astype(np.float32)
