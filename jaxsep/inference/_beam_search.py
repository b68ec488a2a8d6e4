"""Search for the words of an utterance, as one program for a whole batch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxsep.dsp import at_least_float32
from jaxsep.inference._ctc import CtcPrefixes
from jaxsep.text import BLANK, BOS, EOS
from jaxsep.typing import Array, Float, Int

#: `(state, tokens [B, K]) -> (log_probs [B, K, V], state)`: what a decoder or a
#: language model says after one more token of each hypothesis.
Step = Callable[[Any, Array], tuple[Array, Any]]


class Hypotheses(NamedTuple):
  """The best hypotheses of each utterance, the best one first.

  Attributes:
    tokens: Without begin and end of the sentence, zeros after it: `[B, K, L]`.
    length: Tokens of each, `[B, K]`.
    score: Log probability, weighted as `beam_search` says, `[B, K]`; minus
      infinity where fewer hypotheses than K have ended.
  """

  tokens: Array
  length: Array
  score: Array


class _Live(NamedTuple):
  """Hypotheses `[B, K]` that have not ended, and what scores their next token.

  `base` is the score without CTC, `ctc` what `CtcPrefixes` keeps.
  """

  tokens: Array
  last: Array
  base: Array
  score: Array
  ctc: Array | None
  states: Any


def beam_search(
  start: Any,
  step: Step,
  *,
  max_length: int,
  limit: Int[Array, "batch"] | None = None,
  ctc_log_probs: Float[Array, "batch frames tokens"] | None = None,
  input_length: Int[Array, "batch"] | None = None,
  ctc_weight: float | int = 0.4,
  lm: tuple[Any, Step] | None = None,
  lm_weight: float | int = 0.6,
  beam_size: int = 8,
  num_candidates: int | None = None,
  normalize_length: bool = False,
) -> Hypotheses:
  """Finds the most probable tokens by a decoder, CTC and a language model.

  The score of a hypothesis is `(1 - w) log p_decoder + w log p_ctc + v log
  p_lm`, where p_ctc of a hypothesis that has not ended is the probability of
  all that begins with it. In every step, each hypothesis is continued by the
  tokens that decoder and language model like best, and the best K of all go on.
  One that ends within the best K is kept aside. An utterance is done when
  nothing that goes on can score better than the best one that has ended.

  Call it within `jax.jit`: it is one loop over the tokens. The result for an
  utterance does not depend on the others in the batch.

  Args:
    start: State of the decoder before the first token, a tree of arrays `[B,
      ...]`; it is repeated for the K hypotheses.
    step: From `(state, tokens [B, K])` to `(log_probs [B, K, V], state)`, where
      every array of the state is `[B, K, ...]`. What all hypotheses of an
      utterance share, such as the encoder's output, it brings itself. The first
      tokens are `BOS`.
    max_length: Most tokens L of a hypothesis.
    limit: Most tokens of each utterance, shape `[B]`; None is `max_length`. A
      hypothesis of so many tokens ends.
    ctc_log_probs: Log probabilities of each frame, shape `[B, N, V]`; token 0
      is the blank. None for the decoder alone.
    input_length: Frames of each utterance, shape `[B]`; None is all.
    ctc_weight: Weight w of CTC, from 0 to 1, if there is `ctc_log_probs`.
    lm: Start and step of a language model over the same tokens.
    lm_weight: Weight v of the language model.
    beam_size: Hypotheses K that go on.
    num_candidates: Tokens with which each hypothesis is continued, which CTC
      has to score; None is half as many again as `beam_size`, or all of them
      with `ctc_weight=1`.
    normalize_length: Whether hypotheses that have ended are compared by their
      score over their number of tokens, the end included.

  Returns:
    The hypotheses that have ended, best first.

  Raises:
    ValueError: If `beam_size` is not positive, `ctc_weight` is not from 0 to 1,
      or there are lengths without CTC.

  References:
    Watanabe et al., Hybrid CTC/attention architecture for end-to-end speech
    recognition, 2017, section III-C and algorithm 2; Graves, Supervised
    sequence labelling with recurrent neural networks, 2008, section 7.5.

  Example:
    >>> def step(state, tokens):  # After BOS token 3, then the end.
    ...   due = jnp.where(tokens == BOS, 3, EOS)
    ...   return jax.nn.log_softmax(9.0 * jax.nn.one_hot(due, 4)), state
    >>> found = beam_search(jnp.zeros(1), step, max_length=5, beam_size=2)
    >>> print(found.tokens[0, 0], found.length[0, 0])
    [3 0 0 0 0] 1
  """
  if beam_size < 1 or not 0 <= ctc_weight <= 1:
    raise ValueError(
      f"beam_size {beam_size} must be positive, and ctc_weight {ctc_weight}"
      " from 0 to 1"
    )
  batch = len(jax.tree.leaves(start)[0])
  limit = jnp.full(batch, max_length) if limit is None else limit
  ctc = None
  if ctc_log_probs is not None and ctc_weight > 0:
    ctc = CtcPrefixes(ctc_log_probs, input_length)
  search = _Search(
    steps=(step, None if lm is None else lm[1]),
    weights=(0.0 if ctc is None else ctc_weight, lm_weight),
    ctc=ctc,
    limit=jnp.minimum(limit, max_length),
    beam_size=beam_size,
    num_candidates=num_candidates or -(-3 * beam_size // 2),
    normalize_length=normalize_length,
  )
  live = search.started((start, None if lm is None else lm[0]), max_length)
  ended = Hypotheses(
    tokens=live.tokens,
    length=jnp.zeros((batch, beam_size), jnp.int32),
    score=jnp.full((batch, beam_size), -jnp.inf),
  )

  def going_on(carry):
    return (carry[0] <= max_length) & ~jnp.all(search.done(*carry[1:]))

  return jax.lax.while_loop(going_on, search.advance, (0, live, ended))[2]


class _Search(NamedTuple):
  """What a search is made of; the weights are those of CTC and the LM."""

  steps: tuple[Step, Step | None]
  weights: tuple[float, float]
  ctc: Any
  limit: Array
  beam_size: int
  num_candidates: int
  normalize_length: bool

  def started(self, states, max_length):
    """One empty hypothesis of each utterance; the others do not count yet."""
    shape = (len(self.limit), self.beam_size)
    first = jnp.where(jnp.arange(self.beam_size) == 0, 0.0, -jnp.inf)
    score = jnp.broadcast_to(first[None], shape)
    return _Live(
      tokens=jnp.full((*shape, max_length), BLANK, jnp.int32),
      last=jnp.full(shape, BOS, jnp.int32),
      base=score,
      score=score,
      ctc=None if self.ctc is None else self.ctc.empty(self.beam_size),
      states=jax.tree.map(
        lambda x: jnp.repeat(jnp.asarray(x)[:, None], self.beam_size, axis=1),
        states,
      ),
    )

  def advance(self, carry):
    """Continues all hypotheses by a token."""
    index, live, ended = carry
    base, states = self._next_scores(live)
    count = base.shape[-1] - EOS - 1
    if self.weights[0] < 1:
      count = min(count, self.num_candidates)
    # Tokens from 3 on can go on.
    next_base, tokens = jax.lax.top_k(base[..., EOS + 1 :], count)
    tokens += EOS + 1
    score, end_score = next_base, base[..., EOS]
    if self.ctc is not None:
      prefixes = self.ctc.continued(live.ctc, live.last, tokens)
      score += self.weights[0] * prefixes
      end_score += self.weights[0] * self.ctc.ended(live.ctc)
    score = jnp.where(index < self.limit[:, None, None], score, -jnp.inf)
    score = score.reshape(len(score), -1)
    ended = self._ended(index, live, ended, score, end_score)

    score, places = jax.lax.top_k(score, self.beam_size)
    parents = places // count
    last = _pick(tokens.reshape(len(score), -1), places)
    rows, ctc = _pick(live.tokens, parents), None
    if self.ctc is not None:
      before = _pick(live.ctc, parents), _pick(live.last, parents)
      ctc = self.ctc.extended(*before, last)
    live = _Live(
      # The step after the longest hypothesis only ends it.
      tokens=rows.at[:, :, index].set(last, mode="drop"),
      last=last,
      base=_pick(next_base.reshape(len(score), -1), places),
      score=score,
      ctc=ctc,
      states=jax.tree.map(lambda x: _pick(x, parents), states),
    )
    return index + 1, live, ended

  def done(self, live, ended):
    """Whether nothing that goes on can become the best, `[B]`."""
    # Scores only fall; a normalised one is best for the longest hypothesis.
    longest = self.limit + 1 if self.normalize_length else 1
    return jnp.max(live.score, axis=1) / longest <= ended.score[:, 0]

  def _next_scores(self, live):
    """Scores without CTC `[B, K, V]` of each next token, and the states."""
    step, lm_step = self.steps
    state, lm_state = live.states
    log_probs, state = step(state, live.last)
    base = _weighted(1 - self.weights[0], log_probs)
    if lm_step is not None:
      log_probs, lm_state = lm_step(lm_state, live.last)
      base += _weighted(self.weights[1], log_probs)
    return live.base[..., None] + base, (state, lm_state)

  def _ended(self, index, live, ended, score, end_score):
    """The best that have ended, with those of the best K that end now."""
    every = jnp.concatenate([score, end_score], axis=1)
    least = jax.lax.top_k(every, self.beam_size)[0][:, -1:]
    counts = (end_score >= least) & ~self.done(live, ended)[:, None]
    end_score = jnp.where(counts, end_score, -jnp.inf)
    if self.normalize_length:
      end_score /= index + 1
    lengths = jnp.full(end_score.shape, index, jnp.int32)
    scores = jnp.concatenate([ended.score, end_score], axis=1)
    scores, places = jax.lax.top_k(scores, self.beam_size)
    tokens = jnp.concatenate([ended.tokens, live.tokens], axis=1)
    lengths = jnp.concatenate([ended.length, lengths], axis=1)
    return Hypotheses(_pick(tokens, places), _pick(lengths, places), scores)


def _weighted(weight, log_probs):
  """What has no weight does not count, be it minus infinity."""
  log_probs = at_least_float32(log_probs)
  return weight * log_probs if weight else jnp.zeros_like(log_probs)


def _pick(values, places):
  """Of `[B, M, ...]` the places `[B, K]`."""
  return jax.vmap(lambda rows, order: rows[order])(values, places)
