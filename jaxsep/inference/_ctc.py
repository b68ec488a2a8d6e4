"""Tokens by CTC: greedily, and the probabilities of prefixes."""

import jax
import jax.numpy as jnp

from jaxsep.dsp import at_least_float32
from jaxsep.text import BLANK
from jaxsep.typing import Array, Float, Int


def greedy_ctc(
  log_probs: Float[Array, "batch frames tokens"],
  input_length: Int[Array, "batch"] | None = None,
) -> tuple[Int[Array, "batch frames"], Int[Array, "batch"]]:
  """The tokens of the most probable alignment of CTC.

  Args:
    log_probs: Log probabilities or logits of each frame, shape `[B, N, V]`.
    input_length: Frames of each utterance, shape `[B]`; None is all.

  Returns:
    `(tokens [B, N], length [B])`: repeated tokens and blanks are left out,
    zeros fill the rows.

  References:
    Graves et al., Connectionist temporal classification, ICML 2006, section
    3.2, best path decoding.

  Example:
    >>> frames = jax.nn.one_hot(jnp.array([[3, 3, 0, 3, 4]]), 5)
    >>> tokens, length = greedy_ctc(frames)
    >>> print(tokens, length)
    [[3 3 4 0 0]] [3]
  """
  best = jnp.argmax(log_probs, axis=-1)
  before = jnp.pad(best, ((0, 0), (1, 0)), constant_values=BLANK)[:, :-1]
  kept = (best != BLANK) & (best != before)
  if input_length is not None:
    kept &= jnp.arange(best.shape[1])[None] < jnp.asarray(input_length)[:, None]
  order = jnp.argsort(~kept, axis=1, stable=True)
  tokens = jnp.take_along_axis(jnp.where(kept, best, BLANK), order, axis=1)
  return tokens.astype(jnp.int32), jnp.sum(kept, axis=1, dtype=jnp.int32)


class CtcPrefixes:
  """Log probabilities of prefixes by CTC, for hypotheses `[B, K]`.

  Of a prefix it keeps `[B, K, 2, N + 1]`: over all alignments of n frames to
  exactly the prefix, n = 0 ... N, the probability of those that end in its last
  token, and of those that end in a blank.
  """

  def __init__(self, log_probs, input_length):
    self._by_token = jnp.swapaxes(at_least_float32(log_probs), 1, 2)
    batch, _, frames = self._by_token.shape
    if input_length is None:
      input_length = jnp.full(batch, frames)
    self._length = jnp.asarray(input_length)
    self._valid = jnp.arange(frames)[None] < self._length[:, None]

  def empty(self, beam_size):
    """The empty prefix."""
    blanks = jnp.cumsum(self._by_token[:, BLANK], axis=-1)
    blanks = jnp.pad(blanks, ((0, 0), (1, 0)))
    both = jnp.stack([jnp.full_like(blanks, -jnp.inf), blanks], axis=1)
    return jnp.repeat(both[:, None], beam_size, axis=1)

  def ended(self, prefixes):
    """The whole utterance is the prefix, `[B, K]`."""
    place = self._length[:, None, None, None]
    both = jnp.take_along_axis(prefixes, place, axis=-1)[..., 0]
    return jax.nn.logsumexp(both, axis=-1)

  def continued(self, prefixes, last, tokens):
    """The utterance begins with the prefix and a token of `[B, K, P]`."""
    # Watanabe et al., algorithm 2: the token appears in the frame after n.
    before = _before(prefixes[:, :, None], tokens == last[..., None])
    joint = before + self._scores(tokens)
    valid = self._valid[:, None, None]
    return jax.nn.logsumexp(jnp.where(valid, joint, -jnp.inf), axis=-1)

  def extended(self, prefixes, last, tokens):
    """The prefixes with one of the tokens `[B, K]` each."""
    before = _before(prefixes, tokens == last)
    scores = self._scores(tokens)
    blanks = jnp.broadcast_to(self._by_token[:, BLANK][:, None], scores.shape)

    def frame(carry, values):
      token, blank = carry
      before, score, blank_score = values
      both = jnp.logaddexp(token, blank)
      token = jnp.logaddexp(token, before) + score
      return (token, both + blank_score), jnp.stack((token, both + blank_score))

    never = jnp.full(tokens.shape, -jnp.inf)
    frames = [jnp.moveaxis(x, -1, 0) for x in (before, scores, blanks)]
    _, rest = jax.lax.scan(frame, (never, never), tuple(frames))
    rest = jnp.moveaxis(rest, (0, 1), (-1, -2))
    return jnp.pad(
      rest, ((0, 0), (0, 0), (0, 0), (1, 0)), constant_values=-jnp.inf
    )

  def _scores(self, tokens):
    """Log probabilities over the frames of tokens `[B, ...]`: `[B, ..., N]`."""
    flat = tokens.reshape(len(tokens), -1, 1)
    rows = jnp.take_along_axis(self._by_token, flat, axis=1)
    return rows.reshape(*tokens.shape, -1)


def _before(prefixes, repeated):
  """The prefix in n < N frames, before a next token, `[..., N]`."""
  token, blank = prefixes[..., 0, :-1], prefixes[..., 1, :-1]
  # A repeated token needs a blank before it.
  return jnp.where(repeated[..., None], blank, jnp.logaddexp(token, blank))
