"""Normalisation over channels and time, of the whole or of the past.

A feature map `[B, N, C]` is brought to zero mean and unit variance, either by
the statistics of the whole example (the paper's gLN) or, in each frame, by
those of all frames up to it (its cLN) or by its own. The statistics are
float32 whatever the input is: a long sum in bfloat16 stops growing.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxsep.typing import Array, Float

#: Added to the variance before the square root.
EPS = 1e-8

#: Mean and reciprocal standard deviation, `[B, 1, 1]` or `[B, N, 1]`.
Statistics = tuple[jax.Array, jax.Array]


def feature_sums(
  features: Float[Array, "batch frames channels"], *, causal: bool
) -> tuple[jax.Array, jax.Array]:
  """Sum and sum of squares, in one pass over the features.

  Args:
    features: Feature map, shape `[B, N, C]`.
    causal: Whether to keep the frames apart.

  Returns:
    Both sums, float32, shape `[B, N, 1]` if causal, else `[B, 1, 1]`.

  Example:
    >>> total, energy = feature_sums(2 * jnp.ones((1, 3, 5)), causal=False)
    >>> total.item(), energy.item()
    (30.0, 60.0)
  """
  axes = (2,) if causal else (1, 2)
  features = features.astype(jnp.float32)
  total = jnp.sum(features, axis=axes, keepdims=True)
  energy = jnp.sum(jnp.square(features), axis=axes, keepdims=True)
  return total, energy


def statistics_from_sums(
  total: Float[Array, "batch _ 1"],
  energy: Float[Array, "batch _ 1"],
  *,
  values_per_sum: int,
  causal: bool,
  eps: float = EPS,
) -> Statistics:
  """Mean and reciprocal deviation from the sums of `feature_sums`.

  Args:
    total: Sums, shape `[B, N, 1]` if causal, else `[B, 1, 1]`.
    energy: Sums of squares, same shape.
    values_per_sum: How many values went into one sum.
    causal: Whether frame `k` takes the sums of the frames `0 ... k` together.
    eps: Added to the variance.

  Returns:
    Mean and `1 / sqrt(variance + eps)`, of the shape of `total`. The variance
    is that of the population.

  References:
    Luo and Mesgarani, Conv-TasNet, 2019, eq. (15), (17) and (18).
  """
  count = jnp.float32(values_per_sum)
  if causal:
    # What a stream has to carry from one chunk to the next is the last of
    # these sums and their number.
    total, energy = jnp.cumsum(total, axis=1), jnp.cumsum(energy, axis=1)
    frames = jnp.arange(1, total.shape[1] + 1, dtype=jnp.float32)
    count = count * frames[None, :, None]
  mean = total / count
  # Rounding can leave a constant input with a variance just below zero.
  variance = jnp.maximum(energy / count - jnp.square(mean), 0.0)
  return mean, jax.lax.rsqrt(variance + eps)


def global_statistics(
  features: Float[Array, "batch frames channels"], *, eps: float = EPS
) -> Statistics:
  """Mean and reciprocal deviation of each example, over channels and time.

  Example:
    >>> mean, _ = global_statistics(jnp.array([[[1.0], [3.0]]]))
    >>> mean.ravel().tolist()
    [2.0]
  """
  return _statistics(features, False, eps)


def cumulative_statistics(
  features: Float[Array, "batch frames channels"], *, eps: float = EPS
) -> Statistics:
  """Mean and reciprocal deviation up to each frame, over all channels.

  Example:
    >>> mean, _ = cumulative_statistics(jnp.array([[[1.0], [3.0]]]))
    >>> mean.ravel().tolist()
    [1.0, 2.0]
  """
  return _statistics(features, True, eps)


def channel_statistics(
  features: Float[Array, "batch frames channels"], *, eps: float = EPS
) -> Statistics:
  """Mean and reciprocal deviation of each frame, over its channels alone.

  Example:
    >>> mean, _ = channel_statistics(jnp.array([[[1.0, 3.0], [4.0, 8.0]]]))
    >>> mean.ravel().tolist()
    [2.0, 6.0]
  """
  sums = feature_sums(features, causal=True)
  return statistics_from_sums(
    *sums, values_per_sum=features.shape[-1], causal=False, eps=eps
  )


def _statistics(features, causal, eps):
  _, frames, channels = features.shape
  total, energy = feature_sums(features, causal=causal)
  return statistics_from_sums(
    total,
    energy,
    values_per_sum=channels if causal else frames * channels,
    causal=causal,
    eps=eps,
  )


class _LayerNorm(nn.Module):
  eps: float = EPS

  @nn.compact
  def __call__(
    self,
    features: Float[Array, "batch frames channels"],
    statistics: Callable[..., Statistics] | None = None,
  ) -> Float[Array, "batch frames channels"]:
    """Normalises, then scales and shifts each channel.

    Args:
      features: The features.
      statistics: What gives their mean and reciprocal deviation in place of
        the norm itself, as in a stream.

    Returns:
      The normalised features, same shape and type.
    """
    shape = (features.shape[-1],)
    gain = self.param("scale", nn.initializers.ones, shape)
    bias = self.param("bias", nn.initializers.zeros, shape)
    statistics = statistics or self._statistics()
    mean, scale = statistics(features, eps=self.eps)
    normalised = (features.astype(jnp.float32) - mean) * scale
    normalised = normalised * gain[None, None, :] + bias[None, None, :]
    return normalised.astype(features.dtype)

  def _statistics(self) -> Callable[..., Statistics]:
    raise NotImplementedError


class GlobalLayerNorm(_LayerNorm):
  """Normalises each example over channels and time: gLN of the paper.

  Maps `[[B]atch, [N]frames, [C]hannels]` to the same shape. The statistics
  include whatever padding the batch carries: train on crops of one length.

  Attributes:
    eps: Added to the variance.

  References:
    Luo and Mesgarani, Conv-TasNet, 2019, eq. (14) and (15).
  """

  def _statistics(self):
    return global_statistics


class CumulativeLayerNorm(_LayerNorm):
  """Normalises each frame by all frames up to it: cLN of the paper.

  Maps `[[B]atch, [N]frames, [C]hannels]` to the same shape; no frame sees a
  later one.

  Attributes:
    eps: Added to the variance.

  References:
    Luo and Mesgarani, Conv-TasNet, 2019, eq. (16) to (18).
  """

  def _statistics(self):
    return cumulative_statistics


class ChannelLayerNorm(_LayerNorm):
  """Normalises each frame by itself: what Asteroid and SpeechBrain call cLN.

  Maps `[[B]atch, [N]frames, [C]hannels]` to the same shape; no frame sees
  another one.

  Attributes:
    eps: Added to the variance.
  """

  def _statistics(self):
    return channel_statistics


#: The norms by the names that models know them under.
NORMS = {
  "global": GlobalLayerNorm,
  "cumulative": CumulativeLayerNorm,
  "channel": ChannelLayerNorm,
}


def norm_name(name: str | None, *, causal: bool) -> str:
  """The norm of a name; `None` is the paper's.

  Raises:
    ValueError: If the name is unknown.

  Example:
    >>> norm_name(None, causal=True), norm_name("channel", causal=True)
    ('cumulative', 'channel')
  """
  if name is None:
    return "cumulative" if causal else "global"
  if name not in NORMS:
    known = ", ".join(repr(name) for name in NORMS)
    raise ValueError(f"unknown norm {name!r}: choose one of {known}.")
  return name


def norm_names(
  norm: str | None, input_norm: str | None, *, causal: bool
) -> tuple[str, str]:
  """The norms of the features and of the blocks of a network.

  Example:
    >>> norm_names(None, "channel", causal=True)
    ('channel', 'cumulative')
  """
  blocks = norm_name(norm, causal=causal)
  return norm_name(input_norm or norm, causal=causal), blocks


def is_causal(
  norm: str | None, input_norm: str | None, *, causal: bool
) -> bool:
  """Whether a network of causal convolutions or not sees only the past.

  Example:
    >>> is_causal("channel", None, causal=True)
    True
    >>> is_causal("channel", "global", causal=True)
    False
  """
  return causal and "global" not in norm_names(norm, input_norm, causal=causal)
