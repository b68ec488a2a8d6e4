"""A causal Transformer over tokens: decoder of a recogniser, language model.

Beside the call for whole sequences it has a step for one more token of each
hypothesis of a search, which keeps keys and values of the tokens before.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxsep.models._linear import Linear
from jaxsep.models._options import check_positive
from jaxsep.models.conformer import FeedForward
from jaxsep.models.norms import ChannelLayerNorm
from jaxsep.typing import Array, Bool, Float, Int

# SpeechBrain's.
_EPS = 1e-6
_INIT = nn.initializers.variance_scaling(0.5, "fan_avg", "uniform")


class CausalTransformer(nn.Module):
  """Maps tokens `[B, U]` to features `[B, U, D]`; none sees a later token.

  With `cross`, each layer also attends to a memory `[B, N, D]`.

  Attributes:
    num_tokens: Tokens V.
    size: Features D, even.
    num_layers: Layers.
    num_heads: Heads of an attention.
    feedforward_size: Hidden features of the feed-forward parts.
    cross: Whether there is a memory.
    activation: Of the feed-forward parts.
    pre_norm: Whether a layer norm comes before each part, or after its sum with
      the input. One more follows the last layer.
    dropout: Share dropped in training.
    dtype: Type of the factors in matmuls.

  References:
    Vaswani et al., Attention is all you need, 2017, sections 3.1 to 3.5.
  """

  num_tokens: int
  size: int = 512
  num_layers: int = 6
  num_heads: int = 8
  feedforward_size: int = 2048
  cross: bool = False
  activation: str = "gelu"
  pre_norm: bool = True
  dropout: float = 0.1
  dtype: DTypeLike = jnp.float32

  def setup(self):
    """Makes the layers."""
    check_positive(num_tokens=self.num_tokens, num_layers=self.num_layers)
    if self.size % (2 * self.num_heads):
      raise ValueError(
        f"size {self.size} must be a multiple of twice num_heads,"
        f" {self.num_heads}."
      )
    self.embedding = nn.Embed(self.num_tokens, self.size, embedding_init=_INIT)
    self.layers = [
      _Layer(
        self.size,
        self.num_heads,
        self.feedforward_size,
        self.cross,
        self.activation,
        self.pre_norm,
        self.dropout,
        self.dtype,
      )
      for _ in range(self.num_layers)
    ]
    self.norm = ChannelLayerNorm(_EPS)
    self.drop = nn.Dropout(self.dropout)

  def __call__(
    self,
    tokens: Int[Array, "batch tokens"],
    memory: Float[Array, "batch frames _"] | None = None,
    memory_valid: Bool[Array, "batch frames"] | None = None,
    *,
    train: bool = False,
  ) -> Float[Array, "batch tokens {self.size}"]:
    """Features after each token.

    Args:
      tokens: Begin of the sentence and what follows, shape `[B, U]`; padding
        may be any token.
      memory: What each layer attends to, shape `[B, N, D]`.
      memory_valid: Which frames are not padding, shape `[B, N]`.
      train: Whether dropout acts.
    """
    x = self._embedded(tokens, jnp.arange(tokens.shape[1])[None], train)
    causal = jnp.tri(tokens.shape[1], dtype=bool)[None, None]
    for layer in self.layers:
      shared = None
      if memory is not None:
        shared = layer.memory(memory), memory_valid
      x, _ = layer(x, shared, causal, train=train)
    return self.norm(x)

  def start(self, batch: int, max_length: int) -> Any:
    """The state before the first token, for sequences of up to `max_length`."""
    width = self.size // self.num_heads
    shape = (batch, max_length, 2, self.num_heads, width)
    caches = tuple(jnp.zeros(shape, self.dtype) for _ in range(self.num_layers))
    return jnp.zeros(batch, jnp.int32), caches

  def shared(
    self,
    memory: Float[Array, "batch frames _"],
    memory_valid: Bool[Array, "batch frames"] | None = None,
  ) -> Any:
    """Keys and values of the memory, shared by all hypotheses of an example."""
    return [(layer.memory(memory), memory_valid) for layer in self.layers]

  def step(
    self, state: Any, tokens: Int[Array, "batch beam"], shared: Any = None
  ) -> tuple[Float[Array, "batch beam {self.size}"], Any]:
    """Features `[B, K, D]` after one more token of each of K hypotheses.

    Args:
      state: Of `start`, with K hypotheses on the second axis, or of `step`.
      tokens: Next tokens, shape `[B, K]`.
      shared: Of `shared`, if there is a memory.
    """
    index, caches = state
    x = self._embedded(tokens, index, False)
    # All hypotheses have equally many tokens.
    place = index[0, 0]
    seen = jnp.arange(caches[0].shape[2]) <= place
    seen = seen.reshape(1, 1, 1, 1, -1)
    kept = []
    shared = shared or [None] * self.num_layers
    for layer, cache, memory in zip(self.layers, caches, shared, strict=True):
      x, cache = layer(x, memory, seen, cache=cache, place=place)
      kept.append(cache)
    return self.norm(x), (index + 1, tuple(kept))

  def _embedded(self, tokens, places, train):
    """Embeddings and absolute positions."""
    rates = jnp.exp(
      jnp.arange(0, self.size, 2) * (-math.log(10_000) / self.size)
    )
    angles = places[..., None] * rates[None, None]
    waves = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    waves = waves.reshape(*places.shape, self.size)
    x = self.embedding(tokens) * math.sqrt(self.size) + waves
    return self.drop(x, deterministic=not train)


class _Layer(nn.Module):
  """Self-attention, attention to the memory, feed-forward part."""

  size: int
  num_heads: int
  feedforward_size: int
  cross: bool
  activation: str
  pre_norm: bool
  dropout: float
  dtype: DTypeLike

  def setup(self):
    def linear(features):
      return Linear(features, True, self.dtype, True, _INIT)

    self.query_key_value = linear(3 * self.size)
    self.attention_out = linear(self.size)
    self.attention_norm = ChannelLayerNorm(_EPS)
    if self.cross:
      self.memory_query = linear(self.size)
      self.memory_key_value = linear(2 * self.size)
      self.memory_out = linear(self.size)
      self.memory_norm = ChannelLayerNorm(_EPS)
    self.feedforward = FeedForward(
      self.feedforward_size, self.activation, self.dropout, self.dtype
    )
    self.feedforward_norm = ChannelLayerNorm(_EPS)
    self.drop = nn.Dropout(self.dropout)

  def memory(self, memory):
    """Keys and values `[B, N, 2, H, k]` of the memory."""
    return self._heads(self.memory_key_value(memory), 2).astype(self.dtype)

  def __call__(self, x, memory, seen, *, cache=None, place=0, train=False):
    """Features and cache; `seen` says which keys a query sees.

    Without a cache `[B, K, L, 2, H, k]`, x `[B, U, D]` is a whole sequence;
    with one it is the token at `place` of each hypothesis, `[B, K, D]`.
    """
    y = self.attention_norm(x) if self.pre_norm else x
    joint = self._heads(self.query_key_value(y), 3)
    query, both = joint[:, :, 0], joint[:, :, 1:]
    if cache is not None:
      both = both[:, :, None].astype(cache.dtype)
      both = cache = jax.lax.dynamic_update_slice_in_dim(cache, both, place, 2)
      query = query[:, :, None]
    y = self._attend(query, both, seen, train).reshape(x.shape)
    y = self.drop(self.attention_out(y), deterministic=not train)
    x = self._added(x, y, self.attention_norm)

    if memory is not None:
      y = self.memory_norm(x) if self.pre_norm else x
      query = self._heads(self.memory_query(y), 1)[:, :, 0]
      both, valid = memory
      valid = None if valid is None else valid[:, None, None]
      y = self._attend(query, both, valid, train).reshape(x.shape)
      y = self.drop(self.memory_out(y), deterministic=not train)
      x = self._added(x, y, self.memory_norm)

    y = self.feedforward_norm(x) if self.pre_norm else x
    y = self.feedforward(y, train=train)
    return self._added(x, y, self.feedforward_norm), cache

  def _added(self, x, y, norm):
    return x + y if self.pre_norm else norm(x + y)

  def _heads(self, x, count):
    """`[B, N, count * D]` as `[B, N, count, H, k]`."""
    width = self.size // self.num_heads
    return x.reshape(*x.shape[:2], count, self.num_heads, width)

  def _attend(self, query, both, allowed, train):
    """Queries `[..., N, H, k]`, keys and values `[..., M, 2, H, k]`."""
    key, value = both[..., 0, :, :], both[..., 1, :, :]
    query = query / math.sqrt(query.shape[-1])
    scores = self._product("...nhk,...mhk->...hnm", query, key)
    if allowed is not None:
      # Not minus infinity: a memory may have no frames at all.
      scores = jnp.where(allowed, scores, -1e30)
    weights = jax.nn.softmax(scores, axis=-1)
    weights = self.drop(weights, deterministic=not train)
    return self._product("...hnm,...mhk->...nhk", weights, value)

  def _product(self, formula, x, y):
    return jnp.einsum(
      formula,
      x.astype(self.dtype),
      y.astype(self.dtype),
      preferred_element_type=jnp.float32,
    )
