"""Normalisation over channels and time, whole or cumulative.

Statistics are float32 whatever the input: a sum over time and channels in
bfloat16 would lose the small terms.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxsep.typing import Array, Float

#: Added to the variance before the square root.
EPS = 1e-8

#: Statistics of a feature map: mean and reciprocal standard deviation.
Statistics = tuple[jax.Array, jax.Array]


def global_statistics(
  features: Float[Array, "batch frames channels"], *, eps: float = EPS
) -> Statistics:
  """Mean and reciprocal deviation of each example, over channels and time.

  Args:
    features: Feature map, shape `[B, N, C]`.
    eps: Added to the variance.

  Returns:
    Mean and `1 / sqrt(variance + eps)`, each float32 of shape `[B, 1, 1]`.

  Example:
    >>> mean, scale = global_statistics(jnp.ones((1, 4, 2)))
    >>> mean.shape, float(mean[0, 0, 0])
    ((1, 1, 1), 1.0)
  """
  features = features.astype(jnp.float32)
  # The population moments, in one pass over the data.
  mean = jnp.mean(features, axis=(1, 2), keepdims=True)
  power = jnp.mean(jnp.square(features), axis=(1, 2), keepdims=True)
  return mean, _reciprocal_deviation(mean, power, eps)


def cumulative_statistics(
  features: Float[Array, "batch frames channels"], *, eps: float = EPS
) -> Statistics:
  """Mean and reciprocal deviation up to each frame, over all channels.

  Frame `k` sees frames `0 ... k` and nothing later.

  Args:
    features: Feature map, shape `[B, N, C]`.
    eps: Added to the variance.

  Returns:
    Mean and `1 / sqrt(variance + eps)`, each float32 of shape `[B, N, 1]`.

  Example:
    >>> mean, _ = cumulative_statistics(jnp.array([[[1.0], [3.0]]]))
    >>> mean.ravel().tolist()
    [1.0, 2.0]
  """
  features = features.astype(jnp.float32)
  num_frames, num_channels = features.shape[1:]
  count = num_channels * jnp.arange(1, num_frames + 1, dtype=jnp.float32)
  count = count[None, :, None]
  total = jnp.sum(features, axis=2, keepdims=True)
  energy = jnp.sum(jnp.square(features), axis=2, keepdims=True)
  mean = jnp.cumsum(total, axis=1) / count
  power = jnp.cumsum(energy, axis=1) / count
  return mean, _reciprocal_deviation(mean, power, eps)


def _reciprocal_deviation(mean, power, eps):
  # Rounding can leave a constant input with a variance just below zero.
  variance = jnp.maximum(power - jnp.square(mean), 0.0)
  return jax.lax.rsqrt(variance + eps)


class _LayerNorm(nn.Module):
  statistics: Callable[[Array], Statistics]

  @nn.compact
  def __call__(
    self, features: Float[Array, "batch frames channels"]
  ) -> Float[Array, "batch frames channels"]:
    shape = (features.shape[-1],)
    gain = self.param("scale", nn.initializers.ones, shape)
    bias = self.param("bias", nn.initializers.zeros, shape)
    mean, scale = self.statistics(features)
    normalised = (features.astype(jnp.float32) - mean) * scale
    normalised = normalised * gain[None, None, :] + bias[None, None, :]
    return normalised.astype(features.dtype)


class GlobalLayerNorm(_LayerNorm):
  """Normalises each example over channels and time: gLN of the paper.

  Maps `[[B]atch, [N]frames, [C]hannels]` to the same shape. The statistics
  include whatever padding the batch carries.

  References:
    Luo and Mesgarani, Conv-TasNet, 2019, eq. (14) and (15).
  """

  statistics: Callable[[Array], Statistics] = global_statistics


class CumulativeLayerNorm(_LayerNorm):
  """Normalises each frame by all that came so far: cLN of the paper.

  Maps `[[B]atch, [N]frames, [C]hannels]` to the same shape; no frame sees a
  later one.

  References:
    Luo and Mesgarani, Conv-TasNet, 2019, eq. (16) to (18).
  """

  statistics: Callable[[Array], Statistics] = cumulative_statistics
