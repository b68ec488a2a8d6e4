"""Masks over features, to train recognisers."""

import dataclasses

import jax
import jax.numpy as jnp

from jaxsep.typing import Array, Float, Int, Key


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpecAugment:
  """Hides stretches of bands and of frames.

  The widths and places are uniform. What is hidden becomes zero: the mean, in
  features whose mean over time was removed.

  Attributes:
    num_band_masks: Stretches of bands.
    max_bands: Bands of the widest one.
    num_frame_masks: Stretches of frames.
    max_frames: Frames of the longest one.
    max_share: Longest stretch of frames as a share of the utterance.

  References:
    Park et al., SpecAugment, Interspeech 2019, without the time warp.

  Example:
    >>> augment = SpecAugment(num_band_masks=0, max_frames=2)
    >>> masked = augment(jax.random.key(1), jnp.ones((6, 1)), jnp.array(6))
    >>> print(masked.shape, bool(jnp.sum(masked) >= 2))
    (6, 1) True
  """

  num_band_masks: int = 2
  max_bands: int = 27
  num_frame_masks: int = 2
  max_frames: int = 100
  max_share: float = 0.2

  def __call__(
    self,
    key: Key,
    features: Float[Array, "frames bands"],
    num_frames: Int[Array, ""],
  ) -> Float[Array, "frames bands"]:
    """Hides parts of the features `[N, K]` of an utterance.

    `num_frames` says how many frames are not padding.
    """
    size, bands = features.shape
    keys = jax.random.split(key, 2)
    most = jnp.floor(jnp.minimum(self.max_frames, self.max_share * num_frames))
    rows = _masks(keys[0], self.num_frame_masks, size, num_frames, most)
    most = jnp.minimum(self.max_bands, bands)
    columns = _masks(keys[1], self.num_band_masks, bands, bands, most)
    return jnp.where(rows[:, None] | columns[None], 0.0, features)


def _masks(key, count, size, length, most):
  """Which of `size` places lie in any of `count` stretches."""
  draws = jax.random.uniform(key, (2, count, 1))
  width = jnp.floor(draws[0] * (most + 1))
  start = jnp.floor(draws[1] * (length - width + 1))
  places = jnp.arange(size)[None]
  return jnp.any((places >= start) & (places < start + width), axis=0)
