"""Words of recordings of any length, with their times."""

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from jaxsep.inference._alignment import align_ctc
from jaxsep.inference._ctc import greedy_ctc
from jaxsep.inference._recognize import (
  encoded_speech,
  most_tokens,
  searched,
)
from jaxsep.inference._segments import Part, Reading, cut
from jaxsep.inference._separate import finite
from jaxsep.inference._voice_activity import voice_segments
from jaxsep.text import EOS, Tokenizer
from jaxsep.typing import Float, PyTree

# A part with no larger sample is silent: 16 bits could not hold it.
_SILENCE = 2.0**-15
# Parts are filled up to so many different lengths.
_NUM_LENGTHS = 4
# A search has room for so many tokens, or a power of two times as many. With
# room for all 501 frames of 20 s, keys and values of recogniser and language
# model of the default sizes would take 3.2 GB for 4 times 8 hypotheses.
_NUM_PLACES = 32


class Word(NamedTuple):
  """A word of a recording.

  Attributes:
    start_s: When CTC's first frame of it begins, in seconds.
    end_s: When its last one ends. CTC marks a token by few frames, which need
      not cover all of its sound.
    text: The word.
  """

  start_s: float
  end_s: float
  text: str


class Utterance(NamedTuple):
  """What is said in a part of a recording.

  Attributes:
    start_s: When the part begins, in seconds.
    end_s: When it ends.
    text: Its words, with a space between them.
    words: The same words with their times.
  """

  start_s: float
  end_s: float
  text: str
  words: tuple[Word, ...]


def transcribe(
  model: nn.Module,
  variables: PyTree,
  tokenizer: Tokenizer,
  blocks: Iterable[Float[np.ndarray, "_time"]],
  *,
  sample_rate_hz: int,
  segments: Iterable[tuple[int, int]] | None = None,
  longest_s: float = 20.0,
  language_model: tuple[nn.Module, PyTree] | None = None,
  beam_size: int = 8,
  ctc_weight: float = 0.4,
  lm_weight: float = 0.6,
  batch_size: int = 4,
  progress: Callable[[int], Any] | None = None,
) -> list[Utterance]:
  """Recognises the words of a recording of any length.

  Segments with speech, or those that are given, are recognised in batches. A
  segment longer than `longest_s` is cut at its quietest places. Segments are
  filled up with zeros to one of four lengths, for which the model is compiled.
  Of the recording, no more is kept in memory than the segments of a batch for
  each length, and what the detector has not decided about.

  The search has room for a token in each encoded frame in which CTC gives
  tokens more than `exp(-2 / ctc_weight)`, and for 16 more: in another frame, a
  token costs more than 2 of the score.

  Args:
    model: A module with the methods and properties of `models.Recognizer`.
    variables: Its variables.
    tokenizer: What its tokens mean.
    blocks: Consecutive parts of one channel at the model's sample rate, shape
      `[any]`, full scale at 1; `[signal]` for a signal in memory.
    sample_rate_hz: The model's sample rate.
    segments: First sample of each segment and the one after its last, by their
      begins; None for those of `voice_segments`, which needs the extra `asr`.
    longest_s: Seconds that are recognised at once at most.
    language_model: A module with the methods of `models.LSTMLanguageModel` and
      its variables, over the same tokens.
    beam_size: Hypotheses of `beam_search`; 1 for `greedy_ctc`, which needs
      neither decoder nor language model.
    ctc_weight: Weight of CTC in the search.
    lm_weight: Weight of the language model.
    batch_size: Segments per call of the model.
    progress: Called with the number of samples done since the last call, for
      example `tqdm.tqdm(total=...).update`.

  Returns:
    What is said in each segment in which there are words, in the order of time.
    Silence has no words.

  Raises:
    FloatingPointError: If the model's output holds NaN or Inf.
    ImportError: If segments have to be found and webrtcvad is not installed.
    ValueError: If the rate is not the model's, the tokens of tokenizer,
      language model and model differ in number, a segment is not within the
      recording, or a block is not one channel or holds NaN or Inf.

  Example:
    >>> from jaxsep import models, text
    >>> tokenizer = text.WordTokenizer(["yes", "no"])
    >>> model = models.Recognizer(
    ...   tokenizer.size, size=8, num_layers=1, num_heads=2,
    ...   feedforward_size=8, num_decoder_layers=1)
    >>> variables = jax.jit(model.init)(
    ...   jax.random.key(0), **model.example_inputs())
    >>> silence = np.zeros(48000, np.float32)
    >>> transcribe(model, variables, tokenizer, [silence],
    ...            sample_rate_hz=16000, segments=[(0, 48000)])
    []
  """
  _check(model, tokenizer, language_model, sample_rate_hz, beam_size)
  other, weights = language_model or (None, None)
  search = functools.partial(
    _tokens,
    (model, other),
    (variables, weights),
    beam_size=beam_size,
    ctc_weight=ctc_weight,
    lm_weight=lm_weight,
  )
  found: list[Utterance] = []
  waiting: dict[int, list[Part]] = {}
  num_done = 0

  def recognise(length):
    nonlocal num_done
    parts = waiting.pop(length)
    for part, tokens, scores in _results(search, parts, length, batch_size):
      words = _words(
        tokenizer, tokens, scores, part, model.hop_length, sample_rate_hz
      )
      if words:
        start_s = part.start / sample_rate_hz
        end_s = (part.start + len(part.samples)) / sample_rate_hz
        text = " ".join(word.text for word in words)
        found.append(Utterance(start_s, end_s, text, words))
      num_done += len(part.samples)
      if progress:
        progress(len(part.samples))

  reading = Reading(blocks)
  if segments is None:
    segments = voice_segments(reading.heard, sample_rate_hz=sample_rate_hz)
  longest = round(longest_s * sample_rate_hz)
  for start, end in segments:
    for part in cut(Part(start, reading.take(start, end)), longest):
      if np.abs(part.samples).max(initial=0.0) < _SILENCE:
        continue
      step = -(-longest // _NUM_LENGTHS)
      length = -(-len(part.samples) // step) * step
      waiting.setdefault(length, []).append(part)
      if len(waiting[length]) == batch_size:
        recognise(length)
  for length in list(waiting):
    recognise(length)
  if progress:
    progress(reading.num_samples() - num_done)
  return sorted(found)


def _check(model, tokenizer, language_model, rate, beam_size):
  if rate != model.sample_rate_hz:
    raise ValueError(
      f"the recogniser takes {model.sample_rate_hz} Hz, not {rate}: resample"
      " the recording"
    )
  if tokenizer.size != model.num_tokens:
    raise ValueError(
      f"the recogniser has {model.num_tokens} tokens and the tokenizer"
      f" {tokenizer.size}: take the one it was trained with"
    )
  if language_model and beam_size == 1:
    raise ValueError("a language model needs a beam_size of 2 or more")
  if language_model and language_model[0].num_tokens != model.num_tokens:
    raise ValueError(
      f"the recogniser has {model.num_tokens} tokens and the language model"
      f" {language_model[0].num_tokens}: train both with one tokenizer"
    )


def _tokens(models, variables, signal, length, *, beam_size, **weights):
  """Tokens `[B, L]` and how many, log probabilities of CTC and frames."""
  speech, limit = _encoded(
    models[0], variables[0], signal, length, weights["ctc_weight"]
  )
  if beam_size == 1:
    tokens, count = greedy_ctc(speech.log_probs, speech.length)
  else:
    doublings = (int(limit.max(initial=1) - 1) // _NUM_PLACES).bit_length()
    best = _best(
      models,
      variables,
      speech,
      limit,
      max_length=min(_NUM_PLACES << doublings, speech.frames.shape[1]),
      beam_size=beam_size,
      **weights,
    )
    tokens, count = best.tokens[:, 0], best.length[:, 0]
  return tokens, count, speech.log_probs, speech.length


@functools.partial(jax.jit, static_argnums=(0, 4))
def _encoded(model, variables, signal, length, ctc_weight):
  speech = encoded_speech(model, variables, signal, length)
  return speech, most_tokens(speech, ctc_weight)


@functools.partial(
  jax.jit,
  static_argnums=0,
  static_argnames=("max_length", "beam_size", "ctc_weight", "lm_weight"),
)
def _best(models, variables, speech, limit, **options):
  (model, other), (weights, other_weights) = models, variables
  lm = None if other is None else (other, other_weights)
  return searched(
    model, weights, speech, language_model=lm, limit=limit, **options
  )


def _results(search, parts, length, batch_size):
  """Tokens of each part, and their log probabilities `[N, V]` by CTC."""
  # One part, as of a short recording, is not worth a whole batch.
  rows = 1 if len(parts) == 1 else batch_size
  signal = np.zeros((rows, length), np.float32)
  lengths = np.zeros(rows, np.int32)
  for row, part in enumerate(parts):
    signal[row, : len(part.samples)] = part.samples
    lengths[row] = len(part.samples)
  tokens, count, scores, num_frames = map(np.asarray, search(signal, lengths))
  for row, part in enumerate(parts):
    row_tokens = [int(t) for t in tokens[row, : count[row]] if t > EOS]
    yield part, row_tokens, finite(scores[row, : num_frames[row]])


def _words(tokenizer, tokens, scores, part, hop, rate):
  """The words of tokens, whose times are those of the frames by CTC."""
  try:
    frames = align_ctc(scores, tokens)
  except ValueError:  # The decoder alone may find more than CTC has room for.
    places = np.linspace(0, len(scores), len(tokens) + 1)
    frames = np.stack([places[:-1], places[1:]], axis=1)
  spans = []
  for place, (first, last) in enumerate(frames, 1):
    if not tokenizer.decode(tokens[place - 1 : place]).strip():
      continue  # The space between words.
    if len(tokenizer.decode(tokens[:place]).split()) > len(spans):
      spans.append([first, last])
    spans[-1][1] = last
  # An encoded frame is centred on sample `n * hop` of the part.
  samples = np.clip((np.array(spans) - 0.5) * hop, 0, len(part.samples))
  times_s = (part.start + samples) / rate
  texts = tokenizer.decode(tokens).split()
  return tuple(
    Word(float(start_s), float(end_s), text)
    for (start_s, end_s), text in zip(times_s, texts, strict=True)
  )
