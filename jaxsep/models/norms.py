"""Normalisation over channels and time, of the whole or of the past.

A feature map `[B, N, C]` gets zero mean and unit variance: by the statistics of
the whole example (the paper's gLN), of all frames up to each one (its cLN), or
of each frame by itself. The statistics are float32 whatever the input is: a
long sum in bfloat16 stops growing.

The variance is a mean square less the square of a mean. So that no digits
cancel, both are taken of the features less a `shift` among them: the mean of
every 64th frame, of the first frame, or a frame's first channel. If the shift
is the mean of one value in k, the relative error of the variance is below
`k * 6e-8` for any distribution. A second pass over the features would do the
same, but makes a network slower.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxsep.typing import Array, Bool, Float, Int

#: Added to the variance before the square root.
EPS = 1e-8
# One frame in so many is part of the shift of a global norm.
_STRIDE = 64

#: Mean and reciprocal standard deviation, `[B, 1, 1]` or `[B, N, 1]`.
Statistics = tuple[jax.Array, jax.Array]


class Sums(NamedTuple):
  """Sums over features less a shift, and over their squares: `[B, 1, 1]`.

  Those of norms by frame are `[B, N, 1]`. The shift is a constant to the
  gradient; `count` is the number of values in a sum, `[]` or `[B, 1, 1]`.
  """

  total: jax.Array
  energy: jax.Array
  shift: jax.Array
  count: jax.Array


def valid_frames(
  num_frames: Int[Array, "batch"], length: int
) -> Bool[jax.Array, "batch {length} 1"]:
  """Which frames of a padded batch are not padding."""
  return (jnp.arange(length)[None] < num_frames[:, None])[..., None]


def feature_sums(
  features: Float[Array, "batch frames channels"],
  norm: str,
  num_frames: Int[Array, "batch"] | None = None,
  *,
  shifted: bool = True,
) -> Sums:
  """What the statistics of a norm are made of, float32.

  Only the global norm needs `num_frames`, the frames that are not padding: to
  the others, no frame sees a later one. Without `shifted`, for features whose
  mean is not far above their deviation, the shift is zero: one pass less.
  """
  features = features.astype(jnp.float32)
  length, channels = features.shape[1:]
  if not shifted:
    shift = jnp.zeros((1, 1, 1))
  elif norm == "channel":
    shift = features[..., :1]
  elif norm == "cumulative":
    shift = jnp.mean(features[:, :1], axis=2, keepdims=True)
  elif num_frames is None:
    shift = jnp.mean(features[:, ::_STRIDE], axis=(1, 2), keepdims=True)
  else:
    # The first frame is never padding.
    among = valid_frames(jnp.maximum(num_frames, 1), length)[:, ::_STRIDE]
    among = jnp.broadcast_to(among, features[:, ::_STRIDE].shape)
    shift = jnp.mean(
      features[:, ::_STRIDE], axis=(1, 2), keepdims=True, where=among
    )
  shift: Any = jax.lax.stop_gradient(shift)
  centred, count, axes = features - shift, channels, (2,)
  if norm == "global":
    axes, count = (1, 2), length * channels
    if num_frames is not None:
      centred = jnp.where(valid_frames(num_frames, length), centred, 0.0)
      count = channels * jnp.maximum(num_frames, 1)[:, None, None]
  total = jnp.sum(centred, axis=axes, keepdims=True)
  energy = jnp.sum(jnp.square(centred), axis=axes, keepdims=True)
  return Sums(total, energy, shift, jnp.asarray(count, jnp.float32))


def statistics_from_sums(
  sums: Sums, norm: str, *, eps: float = EPS
) -> Statistics:
  """Mean and `1 / sqrt(variance + eps)` from `feature_sums`.

  They are `[B, 1, 1]` for a global norm, else `[B, N, 1]`. The variance is that
  of the population; Luo and Mesgarani, Conv-TasNet, 2019, eq. (15), (17), (18).
  """
  total, energy, _, count = sums
  if norm == "cumulative":
    total, energy = jnp.cumsum(total, axis=1), jnp.cumsum(energy, axis=1)
    frames = jnp.arange(1, total.shape[1] + 1, dtype=jnp.float32)
    count = count * frames[None, :, None]
  mean = total / count
  # Rounding can leave a constant input with a variance just below zero.
  variance = jnp.maximum(energy / count - jnp.square(mean), 0.0)
  return sums.shift + mean, jax.lax.rsqrt(variance + eps)


class _LayerNorm(nn.Module):
  _kind: ClassVar[str]

  eps: float = EPS

  @nn.compact
  def __call__(
    self,
    features: Float[Array, "batch frames channels"],
    num_frames: Int[Array, "batch"] | None = None,
    statistics: Callable[..., Statistics] | None = None,
  ) -> Float[Array, "batch frames channels"]:
    """Normalises, then scales and shifts each channel.

    Args:
      features: The features.
      num_frames: Frames of each example that are not padding; None for all.
      statistics: Gives their mean and reciprocal deviation in place of the
        norm itself, as in a stream.

    Returns:
      The normalised features, same shape and type.
    """
    shape = (features.shape[-1],)
    gain = self.param("scale", nn.initializers.ones, shape)
    bias = self.param("bias", nn.initializers.zeros, shape)
    if statistics is not None:
      mean, scale = statistics(features, eps=self.eps)
    else:
      sums = feature_sums(features, self._kind, num_frames)
      mean, scale = statistics_from_sums(sums, self._kind, eps=self.eps)
    normalised = (features.astype(jnp.float32) - mean) * scale
    normalised = normalised * gain[None, None, :] + bias[None, None, :]
    return normalised.astype(features.dtype)


class GlobalLayerNorm(_LayerNorm):
  """Normalises each example over channels and time: gLN of the paper.

  Maps `[[B]atch, [N]frames, [C]hannels]` to the same shape.

  Attributes:
    eps: Added to the variance.

  References:
    Luo and Mesgarani, Conv-TasNet, 2019, eq. (14) and (15).
  """

  _kind = "global"


class CumulativeLayerNorm(_LayerNorm):
  """Normalises each frame by all frames up to it: cLN of the paper.

  Maps `[[B]atch, [N]frames, [C]hannels]` to the same shape; no frame sees a
  later one.

  Attributes:
    eps: Added to the variance.

  References:
    Luo and Mesgarani, Conv-TasNet, 2019, eq. (16) to (18).
  """

  _kind = "cumulative"


class ChannelLayerNorm(_LayerNorm):
  """Normalises each frame by itself: what Asteroid and SpeechBrain call cLN.

  Maps `[[B]atch, [N]frames, [C]hannels]` to the same shape; no frame sees
  another one.

  Attributes:
    eps: Added to the variance.
  """

  _kind = "channel"


#: The norms by the names that models know them under.
NORMS = {
  "global": GlobalLayerNorm,
  "cumulative": CumulativeLayerNorm,
  "channel": ChannelLayerNorm,
}
