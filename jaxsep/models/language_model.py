"""Language models: scores of the token after each token of a text."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxsep.models._linear import Linear
from jaxsep.models._options import check_positive
from jaxsep.models.norms import ChannelLayerNorm
from jaxsep.models.recurrent import LSTM
from jaxsep.models.transformer import CausalTransformer
from jaxsep.typing import Array, Float, Int


class LSTMLanguageModel(nn.Module):
  """LSTM layers over tokens, whose embeddings also score the next token.

  Token 1 begins and token 2 ends a sentence, as in `jaxsep.text`.

  Attributes:
    num_tokens: Tokens V.
    size: Features of embeddings and layers.
    num_layers: Layers.
    dropout: Share of the inputs of each layer dropped in training.
    dtype: Type of the factors in matmuls.

  References:
    Mikolov et al., Recurrent neural network based language model, 2010; Press
    and Wolf, Using the output embedding to improve language models, 2017.

  Example:
    >>> model = LSTMLanguageModel(30, size=8, num_layers=1)
    >>> tokens = jnp.array([[1, 5, 6]])
    >>> variables = jax.jit(model.init)(jax.random.key(0), tokens)
    >>> print(model.apply(variables, tokens).shape)
    (1, 3, 30)
  """

  num_tokens: int
  size: int = 1024
  num_layers: int = 3
  dropout: float = 0.1
  dtype: DTypeLike = jnp.float32

  def setup(self):
    """Makes the layers."""
    check_positive(num_tokens=self.num_tokens, num_layers=self.num_layers)
    self.embedding = nn.Embed(self.num_tokens, self.size)
    self.layers = [
      LSTM(self.size, bidirectional=False, dtype=self.dtype)
      for _ in range(self.num_layers)
    ]
    self.drop = nn.Dropout(self.dropout)
    self.bias = self.param("bias", nn.initializers.zeros, (self.num_tokens,))

  @nn.nowrap
  def example_inputs(self) -> dict[str, jax.Array]:
    """Small arguments for `init`."""
    return {"tokens": jnp.ones((1, 2), jnp.int32)}

  def __call__(
    self, tokens: Int[Array, "batch tokens"], *, train: bool = False
  ) -> Float[Array, "batch tokens {self.num_tokens}"]:
    """Logits of the token after each token, `[B, U, V]`; begin comes first."""
    x = self.embedding(tokens)
    for layer in self.layers:
      x = layer(self.drop(x, deterministic=not train))
    return self._scores(self.drop(x, deterministic=not train))

  def search_start(self, batch: int, max_length: int) -> Any:
    """State before the first token, for `search_step`."""
    del max_length
    zeros = jnp.zeros((batch, self.size))
    return [(zeros, zeros) for _ in range(self.num_layers)]

  def search_step(
    self, state: Any, tokens: Int[Array, "batch beam"]
  ) -> tuple[Float[Array, "batch beam {self.num_tokens}"], Any]:
    """Log probabilities `[B, K, V]` after one more token, and the state."""
    x, kept = self.embedding(tokens), []
    for layer, before in zip(self.layers, state, strict=True):
      x, after = layer.step(before, x)
      kept.append(after)
    return jax.nn.log_softmax(self._scores(x)), kept

  def _scores(self, x):
    return self.embedding.attend(x) + self.bias[None, None]


class TransformerLanguageModel(nn.Module):
  """A causal Transformer over tokens, with the layout of SpeechBrain's.

  Token 1 begins and token 2 ends a sentence, as in `jaxsep.text`.

  Attributes:
    num_tokens: Tokens V.
    size: Features D.
    num_layers: Layers.
    num_heads: Heads of an attention.
    feedforward_size: Hidden features of the feed-forward parts.
    pre_norm: See `CausalTransformer`; False as SpeechBrain's.
    dropout: Share dropped in training.
    dtype: Type of the factors in matmuls.

  Example:
    >>> model = TransformerLanguageModel(30, size=8, num_layers=1, num_heads=2)
    >>> tokens = jnp.array([[1, 5, 6]])
    >>> variables = jax.jit(model.init)(jax.random.key(0), tokens)
    >>> print(model.apply(variables, tokens).shape)
    (1, 3, 30)
  """

  num_tokens: int
  size: int = 768
  num_layers: int = 12
  num_heads: int = 12
  feedforward_size: int = 3072
  pre_norm: bool = False
  dropout: float = 0.1
  dtype: DTypeLike = jnp.float32

  def setup(self):
    """Makes the layers."""
    self.transformer = CausalTransformer(
      self.num_tokens,
      size=self.size,
      num_layers=self.num_layers,
      num_heads=self.num_heads,
      feedforward_size=self.feedforward_size,
      pre_norm=self.pre_norm,
      dropout=self.dropout,
      dtype=self.dtype,
    )
    self.hidden = Linear(self.size, dtype=self.dtype)
    self.norm = ChannelLayerNorm(1e-6)
    self.head = Linear(self.num_tokens, dtype=self.dtype)

  @nn.nowrap
  def example_inputs(self) -> dict[str, jax.Array]:
    """Small arguments for `init`."""
    return {"tokens": jnp.ones((1, 2), jnp.int32)}

  def __call__(
    self, tokens: Int[Array, "batch tokens"], *, train: bool = False
  ) -> Float[Array, "batch tokens {self.num_tokens}"]:
    """Logits of the token after each token, `[B, U, V]`; begin comes first."""
    return self._scores(self.transformer(tokens, train=train))

  def search_start(self, batch: int, max_length: int) -> Any:
    """State before the first token, for up to `max_length` with the begin."""
    return self.transformer.start(batch, max_length)

  def search_step(
    self, state: Any, tokens: Int[Array, "batch beam"]
  ) -> tuple[Float[Array, "batch beam {self.num_tokens}"], Any]:
    """Log probabilities `[B, K, V]` after one more token, and the state."""
    x, state = self.transformer.step(state, tokens)
    return jax.nn.log_softmax(self._scores(x)), state

  def _scores(self, x):
    return self.head(self.norm(self.hidden(x)))
