"""The transformer layer of DPTNet, with an LSTM in its feed-forward part."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxsep.models._linear import Linear
from jaxsep.models.norms import ChannelLayerNorm, GlobalLayerNorm
from jaxsep.models.recurrent import LSTM
from jaxsep.typing import Array, Float

#: Norms of the layers by name; PyTorch's own has an eps of its own.
NORMS = {
  "layer": (ChannelLayerNorm, 1e-5),
  "global": (GlobalLayerNorm, 1e-8),
  "channel": (ChannelLayerNorm, 1e-8),
}


class SelfAttention(nn.Module):
  """Multi-head self-attention without an encoding of the position.

  Maps `[[B]atch, [L]ength, [F]eatures]` to the same shape.

  Attributes:
    num_heads: Heads, of `F / num_heads` features each.
    dropout: Share of the weights to drop.
    dtype: Type of the matmuls.
  """

  num_heads: int = 4
  dropout: float = 0.0
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self, x: Float[Array, "batch length features"], key: Array | None = None
  ) -> Float[Array, "batch length features"]:
    """Attends to the whole sequence; `key` is that of the dropout."""
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
      weights = _drop(key, _weights(queries, keys), self.dropout)
      mixed = _join(_mix(weights, values))
    else:
      mixed = jnp.asarray(_attend(joint, self.num_heads))
    return Linear(features, dtype=self.dtype, zero_bias=True, name="out")(mixed)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _attend(joint, num_heads):
  """Attention whose gradient computes the weights again: they are large."""
  query, key, value = _split(joint, num_heads)
  return _join(_mix(_weights(query, key), value))


def _attend_forward(joint, num_heads):
  return _attend(joint, num_heads), joint


def _attend_backward(num_heads, joint, d_mixed):
  query, key, value = _split(joint + hidden_zero(d_mixed), num_heads)
  (d_mixed,) = _heads(d_mixed, 1, num_heads)
  weights = _weights(query, key)
  d_weights = _product("bhqd,bhkd->bhqk", d_mixed, value)
  inner = jnp.sum(weights * d_weights, axis=-1, keepdims=True)
  d_scores = (weights * (d_weights - inner)).astype(query.dtype)
  d_query = _product("bhqk,bhkd->bhqd", d_scores, key)
  d_query = d_query / math.sqrt(query.shape[-1])
  # The large factor second: as the first, XLA on the CPU would transpose it.
  d_key = _product("bhqd,bhqk->bhdk", query, d_scores)
  d_value = _product("bhqd,bhqk->bhdk", d_mixed, weights.astype(query.dtype))
  d_key, d_value = (jnp.swapaxes(d, 2, 3) for d in (d_key, d_value))
  parts = [_join(part) for part in (d_query, d_key, d_value)]
  d_joint = jnp.concatenate(parts, axis=-1).astype(joint.dtype)
  # Written out once, not transposed anew for each of its uses.
  return (jax.lax.optimization_barrier(d_joint),)


_attend.defvjp(_attend_forward, _attend_backward)


def _split(joint, num_heads):
  """Queries, scaled, keys and values, each `[B, H, L, F / H]`."""
  query, key, value = _heads(joint, 3, num_heads)
  return query / math.sqrt(query.shape[-1]), key, value


def _heads(joint, parts, num_heads):
  """The heads `[B, H, L, F / H]` of each part of `[B, L, parts * F]`."""
  shape = (*joint.shape[:2], parts, num_heads, -1)
  return tuple(jnp.moveaxis(joint.reshape(shape), (2, 3), (0, 2)))


def _join(heads):
  """Features `[B, L, F]` of heads `[B, H, L, F / H]`."""
  batch, _, length, _ = heads.shape
  return jnp.swapaxes(heads, 1, 2).reshape(batch, length, -1)


def _weights(query, key):
  """Attention weights `[B, H, L, L]`, float32."""
  return jax.nn.softmax(_product("bhqd,bhkd->bhqk", query, key), axis=-1)


def _mix(weights, value):
  weights = weights.astype(value.dtype)
  return _product("bhqk,bhkd->bhqd", weights, value).astype(value.dtype)


def _product(formula, x, y):
  return jnp.einsum(formula, x, y, preferred_element_type=jnp.float32)


class ImprovedTransformer(nn.Module):
  """A transformer layer with an LSTM in place of its first linear layer.

  Maps `[[B]atch, [L]ength, [F]eatures]` to the same shape. The LSTM gives the
  layer a sense of order.

  Attributes:
    num_heads: Heads of the attention.
    hidden_size: Width of the LSTM in one direction.
    bidirectional: Whether the LSTM runs in both directions.
    norm: See `DPTNet`.
    dropout: Share of attention weights and features to drop.
    dtype: Type of the matmuls.
    remat: Whether the gradient computes the layer again from its input.

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
    self, x: Float[Array, "batch length features"], key: Array | None = None
  ) -> Float[Array, "batch length features"]:
    """Attends, then runs over the sequence; a norm after each sum.

    The dropout's `key` is drawn here unless it is given, as it is to the layer
    that is computed again, so that both drop the same.
    """
    if self.dropout and key is None:
      key = self.make_rng("dropout")
    if self.remat and not self.is_initializing():
      layer = self.clone(parent=None, name=None, remat=False)
      return _again(layer, self.variables["params"], x, key)
    norm, eps = NORMS[self.norm]
    keys = [None] * 4 if key is None else jax.random.split(key, 4)
    attended = SelfAttention(
      self.num_heads, self.dropout, self.dtype, name="attention"
    )(x, keys[0])
    x = norm(eps, name="attention_norm")(
      x + _drop(keys[1], attended, self.dropout)
    )
    states = LSTM(
      self.hidden_size, self.bidirectional, self.dtype, name="lstm"
    )(x)
    states = _drop(keys[2], jax.nn.relu(states), self.dropout)
    y = Linear(x.shape[-1], dtype=self.dtype, name="linear")(states)
    return norm(eps, name="linear_norm")(x + _drop(keys[3], y, self.dropout))


def _drop(key, x, rate):
  """Dropout, with nothing to draw where the rate is zero."""
  if not rate:
    return x
  keep = jax.random.bernoulli(key, 1 - rate, x.shape)
  return jnp.where(keep, x / (1 - rate), 0.0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _again(layer, params, x, key):
  """Applies a layer whose gradient keeps nothing but its input."""
  return layer.apply({"params": params}, x, key)


def _again_forward(layer, params, x, key):
  return _again(layer, params, x, key), (params, x, key)


def _again_backward(layer, residuals, gradient):
  params, x, key = residuals
  x = x + hidden_zero(gradient).astype(x.dtype)
  _, pullback = jax.vjp(
    lambda params, x: layer.apply({"params": params}, x, key), params, x
  )
  return *pullback(gradient), None


_again.defvjp(_again_forward, _again_backward)


def hidden_zero(gradient: jax.Array) -> jax.Array:
  """A zero `[B, 1, 1]` that the compiler cannot see through.

  It makes what is computed again depend on the incoming gradient; else XLA on
  the CPU recognises the forward pass and keeps its results after all.
  """
  return jnp.minimum(jnp.abs(gradient[:, :1, :1]), 0)
