"""Recognition of a batch of utterances."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxsep.inference._beam_search import Hypotheses, beam_search
from jaxsep.text import BLANK
from jaxsep.typing import Array, Float, Int, PyTree


def recognize(
  model: nn.Module,
  variables: PyTree,
  signal: Float[Array, "batch time"],
  *,
  length: Int[Array, "batch"] | None = None,
  language_model: tuple[nn.Module, PyTree] | None = None,
  max_length: int | None = None,
  **options: Any,
) -> Hypotheses:
  """The most probable tokens of utterances, by `beam_search`.

  Call it within `jax.jit`, with signals of few different lengths.

  Args:
    model: A module with the methods of `models.Recognizer`.
    variables: Its variables.
    signal: Waveforms, shape `[B, T]`.
    length: Samples of each, shape `[B]`; None is all.
    language_model: A module with the methods of `models.LSTMLanguageModel` and
      its variables.
    max_length: Most tokens of an utterance, which never has more tokens than
      encoded frames; None sets no other bound.
    **options: Further options of `beam_search`, such as `beam_size`.

  Returns:
    The hypotheses, best first.

  Example:
    >>> from jaxsep import models
    >>> model = models.Recognizer(
    ...   8, size=8, num_layers=1, num_heads=2, feedforward_size=8,
    ...   num_decoder_layers=1)
    >>> inputs = model.example_inputs()
    >>> variables = jax.jit(model.init)(jax.random.key(0), **inputs)
    >>> found = jax.jit(
    ...   lambda *args: recognize(model, *args, beam_size=2)
    ... )(variables, inputs["signal"])
    >>> print(found.tokens.shape)
    (1, 2, 6)
  """
  speech = encoded_speech(model, variables, signal, length)
  return searched(
    model,
    variables,
    speech,
    language_model=language_model,
    max_length=max_length,
    **options,
  )


class EncodedSpeech(NamedTuple):
  """Encoded frames `[B, N, D]`, how many, and their log probabilities."""

  frames: Array
  length: Array
  log_probs: Array


def encoded_speech(model: nn.Module, variables, signal, length):
  """What a search needs of utterances."""

  def apply(name, *args) -> Any:
    return model.apply(variables, *args, method=name)

  features, num_frames = apply("features", signal, length)
  frames, frames_length = apply("encode", features, num_frames)
  log_probs = jax.nn.log_softmax(apply("ctc", frames))
  return EncodedSpeech(frames, frames_length, log_probs)


def most_tokens(speech: EncodedSpeech, ctc_weight: float) -> Array:
  """Tokens `[B]` that hypotheses need at most, for a cache of few places.

  In another frame than those that are counted, a token costs more than 2 of
  the score; there may be 16 such.
  """
  token = jax.nn.logsumexp(speech.log_probs[..., BLANK + 1 :], axis=-1)
  counted = token >= (-2.0 / ctc_weight if ctc_weight else -jnp.inf)
  counted &= jnp.arange(counted.shape[1])[None] < speech.length[:, None]
  return jnp.minimum(counted.sum(axis=1) + 16, speech.length)


def searched(
  model: nn.Module,
  variables,
  speech: EncodedSpeech,
  *,
  language_model=None,
  max_length=None,
  limit=None,
  **options,
) -> Hypotheses:
  """The most probable tokens of encoded speech, see `recognize`."""

  def apply(name, *args) -> Any:
    return model.apply(variables, *args, method=name)

  most = max_length or speech.frames.shape[1]
  # The begin takes a place of the state, too.
  shared, start = apply("search_start", speech.frames, speech.length, most + 1)
  lm = None
  if language_model is not None:
    other, weights = language_model
    lm_start = other.apply(
      weights, len(speech.frames), most + 1, method="search_start"
    )

    def lm_step(state, tokens):
      return other.apply(weights, state, tokens, method="search_step")

    lm = (lm_start, lm_step)
  return beam_search(
    start,
    lambda state, tokens: apply("search_step", shared, state, tokens),
    max_length=most,
    limit=speech.length if limit is None else limit,
    ctc_log_probs=speech.log_probs,
    input_length=speech.length,
    lm=lm,
    **options,
  )
