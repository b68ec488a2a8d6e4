"""The transformer layer of DPTNet, with an LSTM in its feed-forward part."""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxsep.models._linear import Linear
from jaxsep.models.norms import ChannelLayerNorm, GlobalLayerNorm
from jaxsep.models.recurrent import LSTM
from jaxsep.typing import Array, Float, Int

#: Norms of the layers by name, and their eps; `"layer"` is PyTorch's.
NORMS = {
  "layer": (ChannelLayerNorm, 1e-5),
  "global": (GlobalLayerNorm, 1e-8),
  "channel": (ChannelLayerNorm, 1e-8),
}


class SelfAttention(nn.Module):
  """Multi-head self-attention without an encoding of the position.

  Maps `[[B]atch, [L]ength, [F]eatures]` to the same shape; each head has
  `F / num_heads` features.
  """

  num_heads: int = 4
  dropout: float = 0.0
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "batch length features"],
    lengths: Int[Array, "batch"] | None = None,
    key: Array | None = None,
  ) -> Float[Array, "batch length features"]:
    """Attends to all of a sequence but its padding; `key` is of the dropout."""
    features = x.shape[-1]
    if features % self.num_heads:
      raise ValueError(
        f"num_heads must divide the {features} features, not {self.num_heads}."
      )
    bound = math.sqrt(6 / (4 * features))
    joint = Linear(
      3 * features,
      dtype=self.dtype,
      zero_bias=True,
      kernel_init=lambda key, shape, dtype=jnp.float32: jax.random.uniform(
        key, shape, dtype, -bound, bound
      ),
      name="query_key_value",
    )(x)
    joint = joint.astype(self.dtype)
    if self.dropout:
      queries, keys, values = _split(joint, self.num_heads)
      weights = _weights(queries, keys, lengths)
      weights = _drop(key, weights, self.dropout)
      mixed = _join(_mix(weights, values))
    else:
      attend = functools.partial(_attend, num_heads=self.num_heads)
      # The weights are large.
      mixed: Any = recompute(attend, joint, lengths)
    return Linear(features, dtype=self.dtype, zero_bias=True, name="out")(mixed)


def _attend(joint, lengths, *, num_heads):
  query, key, value = _split(joint, num_heads)
  return _join(_mix(_weights(query, key, lengths), value))


def _split(joint, num_heads):
  """Queries, scaled, keys and values, each `[B, H, L, F / H]`."""
  shape = (*joint.shape[:2], 3, num_heads, -1)
  query, key, value = jnp.moveaxis(joint.reshape(shape), (2, 3), (0, 2))
  return query / math.sqrt(query.shape[-1]), key, value


def _join(heads):
  """Features `[B, L, F]` of heads `[B, H, L, F / H]`."""
  batch, _, length, _ = heads.shape
  return jnp.swapaxes(heads, 1, 2).reshape(batch, length, -1)


def _weights(query, key, lengths):
  """Attention weights `[B, H, L, L]`, float32."""
  scores = _product("bhqd,bhkd->bhqk", query, key)
  if lengths is not None:
    valid = jnp.arange(scores.shape[-1])[None] < lengths[:, None]
    scores = jnp.where(valid[:, None, None], scores, -jnp.inf)
  return jax.nn.softmax(scores, axis=-1)


def _mix(weights, value):
  weights = weights.astype(value.dtype)
  return _product("bhqk,bhkd->bhqd", weights, value).astype(value.dtype)


def _product(formula, x, y):
  return jnp.einsum(formula, x, y, preferred_element_type=jnp.float32)


class ImprovedTransformer(nn.Module):
  """A transformer layer with an LSTM in place of its first linear layer.

  Maps `[[B]atch, [L]ength, [F]eatures]` to the same shape. The LSTM gives the
  layer a sense of order. For the options see `DPTNet`; with `remat`, the
  gradient computes the layer again from its input.

  References:
    Chen, Mao and Liu, Dual-path transformer network, 2020, section 2.2.
  """

  num_heads: int = 4
  hidden_size: int = 128
  bidirectional: bool = True
  norm: str = "layer"
  dropout: float = 0.0
  dtype: DTypeLike = jnp.float32
  remat: bool = False

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "batch length features"],
    lengths: Int[Array, "batch"] | None = None,
    key: Array | None = None,
  ) -> Float[Array, "batch length features"]:
    """Attends, then runs over the sequence; a norm after each sum.

    `key` is of the dropout, and drawn here if None. A layer that is computed
    again for its gradient is given one, to drop the same.
    """
    if self.dropout and key is None:
      key = self.make_rng("dropout")
    if self.remat and not self.is_initializing():
      layer = self.clone(parent=None, name=None, remat=False)
      apply = lambda x, *rest: layer.apply(rest[0], x, *rest[1:])  # noqa: E731
      return recompute(apply, x, self.variables, lengths, key)
    norm, eps = NORMS[self.norm]
    keys = [None] * 4 if key is None else jax.random.split(key, 4)
    attended = SelfAttention(
      self.num_heads, self.dropout, self.dtype, name="attention"
    )(x, lengths, keys[0])
    x = norm(eps, name="attention_norm")(
      x + _drop(keys[1], attended, self.dropout), lengths
    )
    states = LSTM(
      self.hidden_size, self.bidirectional, self.dtype, name="lstm"
    )(x, lengths)
    states = _drop(keys[2], jax.nn.relu(states), self.dropout)
    y = Linear(x.shape[-1], dtype=self.dtype, name="linear")(states)
    y = x + _drop(keys[3], y, self.dropout)
    return norm(eps, name="linear_norm")(y, lengths)


def _drop(key, x, rate):
  """Dropout, with nothing to draw where the rate is zero."""
  if not rate:
    return x
  keep = jax.random.bernoulli(key, 1 - rate, x.shape)
  return jnp.where(keep, x / (1 - rate), 0.0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def recompute(function, x, *args):
  """`function(x, *args)`, whose gradient keeps nothing but the arguments.

  `jax.checkpoint` saves hardly any memory on CPUs: XLA recognises what is
  computed twice, and keeps the first result. The gradient of DPTNet for 2 x 2 s
  with filters of 16 samples takes 1,247 MB with `remat=True` and this function,
  and 1,719 MB with `jax.checkpoint`.
  """
  return function(x, *args)


def _recompute_forward(function, *args):
  return function(*args), args


def _recompute_backward(function, args, gradient):
  x, *others = args
  # As in `_conv_block.py`, what is computed again depends on the gradient.
  zero = jnp.minimum(jnp.abs(gradient[:, :1, :1]), 0)
  _, pullback = jax.vjp(function, x + zero.astype(x.dtype), *others)
  return pullback(gradient)


recompute.defvjp(_recompute_forward, _recompute_backward)
