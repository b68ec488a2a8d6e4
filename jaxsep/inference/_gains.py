"""Gains with which estimates add up to their mixture.

They depend only on the inner products of the estimates with each other, `gram
[S, S]`, not all zero, and with the mixture, `match [S]`. Estimates may have
any scale.
"""

import numpy as np

from jaxsep.typing import Float

# Strength of the penalty on the distance from the usual gains, as a share of
# the mean energy of the sources. It decides for sources 15 dB below the others:
# what leaks into the output of a silent source must not be scaled up.
_INERTIA = 0.03
# The energy of the sum of the estimates is taken to be at least this share of
# the sum of their energies: where estimates cancel, the rest has no scale.
_CANCELLED = 0.1
# Energy 90 dB below the mean is rounding.
_ROUNDING = 1e-9


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
