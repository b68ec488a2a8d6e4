"""Gains with which estimates add up to their mixture.

All that they depend on is the `gram` of the estimates, their inner products
with each other `[S, S]`, and their `match`, those with the mixture `[S]`. An
estimate may have any scale: the gains make up for it.
"""

import numpy as np

from jaxsep.typing import Float

# How strongly gains hold on to the given ones: as if a source of this share of
# the mean energy spoke for those. It decides for sources 15 dB below the
# others: what leaks into the output of a silent source must not be scaled up
# to explain the recording.
_INERTIA = 0.03
# The energy of a sum of estimates is taken to be at least this share of the
# sum of their energies: from what is left where they cancel follows no scale.
_CANCELLED = 0.1
# What is 90 dB below the mean is rounding.
_ROUNDING = 1e-9


def common_gain(
  gram: Float[np.ndarray, "sources sources"],
  match: Float[np.ndarray, "sources"],
) -> float:
  """The one gain for all estimates that explains the mixture best.

  Args:
    gram: Inner products of the estimates, not all zero.
    match: Their inner products with the mixture.

  Returns:
    The gain; near zero where the estimates cancel in their sum.
  """
  return match.sum() / max(gram.sum(), _CANCELLED * np.trace(gram))


def gains(
  gram: Float[np.ndarray, "sources sources"],
  match: Float[np.ndarray, "sources"],
  usual: Float[np.ndarray, "..."] | float,
) -> Float[np.ndarray, "sources"]:
  """Least-squares gains; the usual ones for what explains little.

  How much of the mixture an estimate explains, and not how loud it is, decides
  whether it gets a gain of its own. So a first, lenient solution brings the
  estimates to the level of the mixture; there their energies are compared.

  Args:
    gram: Inner products of the estimates, not all zero.
    match: Their inner products with the mixture.
    usual: Gains to stay near to, shape `[S]` or one for all.

  Returns:
    The gains.
  """
  energy = np.diag(gram)
  # Estimates of energy one: then scales do not matter, also to the numerics.
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
