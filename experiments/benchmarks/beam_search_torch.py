"""Joint decoder / CTC beam search in PyTorch, a hypothesis at a time.

What a plain program does: each hypothesis has its own decoder cache, and the
CTC scores of its candidates are one loop over the frames in NumPy.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

_BOS, _EOS = 1, 2


class Decoder:
  """One step of a recogniser's decoder, with its weights from Flax."""

  def __init__(self, params: Any, heads: int):
    self.heads = heads
    self.weights = _tensors(params["decoder"])
    self.head = _tensors(params["decoder_head"])
    self.layers = [
      self.weights[f"layers_{n}"]
      for n in range(sum(name.startswith("layers_") for name in self.weights))
    ]

  def memory(self, encoded):
    """Keys and values `[H, N, k]` of each layer for frames `[N, D]`."""
    return [
      self._heads(_linear(layer["memory_key_value"], encoded), 2)
      for layer in self.layers
    ]

  def step(self, token, place, caches, memory):
    """Log probabilities `[V]` after a token, and the caches."""
    table = self.weights["embedding"]["embedding"]
    size = table.shape[1]
    rates = torch.exp(torch.arange(0, size, 2) * (-math.log(10_000) / size))
    waves = torch.stack([(place * rates).sin(), (place * rates).cos()], -1)
    x = (table[token] * math.sqrt(size) + waves.flatten())[None]
    kept = []
    for number, (layer, shared) in enumerate(
      zip(self.layers, memory, strict=True)
    ):
      y = _norm(layer["attention_norm"], x)
      query, *both = self._heads(_linear(layer["query_key_value"], y), 3)
      if caches:
        pairs = zip(caches[number], both, strict=True)
        both = [torch.cat(pair, dim=1) for pair in pairs]
      kept.append(both)
      x = x + _linear(layer["attention_out"], _attend(query, *both))
      y = _norm(layer["memory_norm"], x)
      (query,) = self._heads(_linear(layer["memory_query"], y), 1)
      x = x + _linear(layer["memory_out"], _attend(query, *shared))
      y = _norm(layer["feedforward_norm"], x)
      # As jax.nn.gelu.
      y = functional.gelu(
        _linear(layer["feedforward"]["hidden"], y), approximate="tanh"
      )
      x = x + _linear(layer["feedforward"]["out"], y)
    scores = _linear(self.head, _norm(self.weights["norm"], x))[0]
    return functional.log_softmax(scores, dim=0), kept

  def _heads(self, x, count):
    x = x.unflatten(-1, (count, self.heads, -1))
    return list(x.permute(1, 2, 0, 3))


class _Hypothesis(NamedTuple):
  score: float
  tokens: tuple[int, ...]
  base: float
  prefix: Any
  caches: Any


@torch.inference_mode()
def search(
  decoder: Decoder,
  encoded: np.ndarray,
  log_probs: np.ndarray,
  *,
  beam_size: int,
  max_length: int,
  ctc_weight: float,
) -> tuple[float, tuple[int, ...]]:
  """Score and tokens of the best hypothesis of an utterance `[N, D]`."""
  memory = decoder.memory(torch.from_numpy(encoded))
  blanks = np.append(0, np.cumsum(log_probs[:, 0]))
  empty = np.stack([np.full_like(blanks, -np.inf), blanks])
  live = [_Hypothesis(0.0, (), 0.0, empty, None)]
  ended: list[_Hypothesis] = []
  for length in range(max_length + 1):
    options, ends = [], []
    for old in live:
      token = old.tokens[-1] if old.tokens else _BOS
      scores, caches = decoder.step(token, length, old.caches, memory)
      base = (1 - ctc_weight) * scores + old.base
      whole = np.logaddexp(*old.prefix[:, -1])
      end = float(base[_EOS]) + ctc_weight * whole
      ends.append(_Hypothesis(end, old.tokens, 0.0, None, None))
      if length == max_length:
        continue
      best = torch.topk(base[_EOS + 1 :], -(-3 * beam_size // 2))
      places = best.indices.numpy() + _EOS + 1
      totals, prefixes = _continued(old.prefix, token, places, log_probs)
      for n, place in enumerate(places):
        value = float(best.values[n])
        score = value + ctc_weight * totals[n]
        tokens = (*old.tokens, int(place))
        options.append(
          _Hypothesis(score, tokens, value, prefixes[:, n], caches)
        )
    every = sorted((o.score for o in options + ends), reverse=True)
    least = every[min(beam_size, len(every)) - 1]
    ended += [end for end in ends if end.score >= least]
    live = sorted(options, key=lambda o: -o.score)[:beam_size]
    best = max((end.score for end in ended), default=-math.inf)
    if not live or live[0].score <= best:
      break
  found = max(ended, key=lambda end: end.score)
  return found.score, found.tokens


def _continued(prefix, last, places, log_probs):
  """CTC's scores of a prefix and each of P tokens, and what they keep."""
  token, blank = prefix[:, :-1]
  before = np.logaddexp(token, blank)[:, None] * np.ones(len(places))
  before[:, places == last] = blank[:, None]
  scores = log_probs[:, places]
  total = np.logaddexp.reduce(before + scores, axis=0)
  kept = np.full((2, len(places), len(log_probs) + 1), -np.inf)
  for n in range(len(log_probs)):
    both = np.logaddexp(kept[0, :, n], kept[1, :, n])
    kept[0, :, n + 1] = np.logaddexp(kept[0, :, n], before[n]) + scores[n]
    kept[1, :, n + 1] = both + log_probs[n, 0]
  return total, kept


def _tensors(tree: Any) -> Any:
  if hasattr(tree, "items"):
    return {name: _tensors(value) for name, value in tree.items()}
  return torch.from_numpy(np.array(tree))


def _linear(layer, x):
  return x @ layer["kernel"] + layer["bias"]


def _norm(layer, x):
  scale, bias = layer["scale"], layer["bias"]
  return functional.layer_norm(x, scale.shape, scale, bias, 1e-6)


def _attend(query, key, value):
  """`[H, 1, k]` to `[1, D]`."""
  x = functional.scaled_dot_product_attention(query, key, value)
  return x.transpose(0, 1).flatten(1)
