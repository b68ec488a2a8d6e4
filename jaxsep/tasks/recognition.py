"""Recognition of speech, and the language models that help it."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep import inference, json_values, losses, text
from jaxsep.tasks.task import Batch, Keys, Mean
from jaxsep.typing import Array, Float, Int, Key

_COMPARED = ("found", "tokens")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextTask:
  """What recognisers and language models share.

  Attributes:
    model: The Flax module.
    sample_rate_hz: Sample rate of the signals; of a language model, those of
      the recogniser it helps.
    tokenizer: File of the tokenizer, for words in scores; it becomes the file
      `tokenizer` of model folders. None scores tokens.
  """

  model: Any
  sample_rate_hz: int
  tokenizer: str | None = None

  per_example_loss = True

  @property
  def save_options(self) -> dict[str, Any]:
    """The tokenizer, for `jaxsep.save`."""
    if self.tokenizer is None:
      return {}
    return {"files": {"tokenizer": self.tokenizer}}

  @functools.cached_property
  def loaded_tokenizer(self) -> text.Tokenizer | None:
    """The tokenizer of the file."""
    return None if not self.tokenizer else text.load_tokenizer(self.tokenizer)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecognitionTask(TextTask):
  """Trains a recogniser on utterances with their words, by CTC and attention.

  A batch has `signal` `[B, T]` with `signal_length` `[B]`, and `tokens` `[B,
  U]`, without begin and end, with `tokens_length` `[B]`. The loss of an
  utterance is the sum over its tokens.

  Attributes:
    model: A module with the methods of `models.Recognizer`.
    augmentation: From `(key, features [N, K], num_frames)` to features, in
      training: a `simulate.SpecAugment`; None for none.
    ctc_weight: See `losses.ctc_attention`; so are the next two.
    label_smoothing: Probability of the tokens that are not due.
    unigram: Counts of the tokens in the training labels, V numbers, or None.
  """

  augmentation: Any = None
  ctc_weight: float = 0.2
  label_smoothing: float = 0.1
  unigram: Sequence[float | int] | None = None

  def init(self, key: Key, batch: Batch) -> Any:
    """Makes all collections of the model; see `Task`."""
    signal = jnp.zeros(batch["signal"].shape, jnp.float32)
    return dict(self.model.init(key, signal, begun(batch["tokens"])))

  def loss(
    self,
    variables: Any,
    batch: Batch,
    *,
    keys: Keys,
    step: Any,
    frozen: Any = None,
  ) -> tuple[Float[Array, "batch"], tuple[Any, dict[str, Array]]]:
    """The loss of every utterance, and the share whose labels do not fit."""
    fixed = ("params", "loss_params", "constants")
    outputs, changed = self.model.apply(
      variables,
      batch,
      keys.examples,
      train=True,
      method=self._outputs,
      rngs={"dropout": keys.step("dropout")},
      mutable=[name for name in variables if name not in fixed],
    )
    fits = losses.ctc_fits(batch["tokens"], outputs[2], batch["tokens_length"])
    unfit = 1.0 - fits.astype(jnp.float32)
    return self._compare(outputs, batch), (dict(changed), {"unfit": unfit})

  def evaluate(
    self, variables: Any, batch: Batch, *, keys: Keys, frozen: Any = None
  ) -> Mapping[str, Any]:
    """Loss per token, and the tokens that `summarize` counts errors in.

    Returns:
      `loss`; `found` `[B, N]`, by greedy CTC, and `tokens` `[B, U]` with their
      lengths `[B]`.
    """
    outputs = self.model.apply(
      variables, batch, None, train=False, method=self._outputs
    )
    found, found_length = inference.greedy_ctc(outputs[0], outputs[2])
    length = jnp.asarray(batch["tokens_length"])
    return {
      "loss": Mean(self._compare(outputs, batch), _num_steps(length)),
      "found": found,
      "found_length": found_length,
      "tokens": jnp.asarray(batch["tokens"]),
      "tokens_length": length,
    }

  def summarize(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Errors of greedy CTC over what was said, of all rows together.

    Returns:
      `token_error_rate` and, with a tokenizer, `word_error_rate`; NaN where
      nothing was said.
    """
    return error_rates(rows, self.loaded_tokenizer)

  def describe(self) -> dict[str, Any]:
    """What fixes the meaning of the parameters, as JSON values."""
    unigram = None if self.unigram is None else list(map(float, self.unigram))
    return {
      "task": "recognition",
      "model": json_values.encode(self.model),
      "sample_rate_hz": self.sample_rate_hz,
      "augmentation": json_values.encode(self.augmentation),
      "ctc_weight": self.ctc_weight,
      "label_smoothing": self.label_smoothing,
      "unigram": unigram,
    }

  def _outputs(self, model, batch, keys, *, train):
    """What the model's call gives, of features that are masked in training."""
    features, num_frames = model.features(
      jnp.asarray(batch["signal"]), jnp.asarray(batch["signal_length"])
    )
    if train and self.augmentation is not None:
      features = jax.vmap(self.augmentation)(keys, features, num_frames)
    encoded, length = model.encode(features, num_frames, train=train)
    tokens = begun(batch["tokens"])
    logits = model.decode(tokens, encoded, length, train=train)
    return model.ctc(encoded), logits, length

  def _compare(self, outputs, batch):
    ctc_logits, decoder_logits, length = outputs
    return losses.ctc_attention(
      ctc_logits,
      decoder_logits,
      jnp.asarray(batch["tokens"]),
      length,
      jnp.asarray(batch["tokens_length"]),
      ctc_weight=self.ctc_weight,
      label_smoothing=self.label_smoothing,
      unigram=None if self.unigram is None else jnp.array(self.unigram, "f4"),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class LanguageModelTask(TextTask):
  """Trains a language model on sentences.

  A batch has `tokens` `[B, U]`, without begin and end, and `tokens_length`
  `[B]`. The loss of a sentence is the sum over its tokens and its end.
  """

  def init(self, key: Key, batch: Batch) -> Any:
    """Makes all collections of the model; see `Task`."""
    return dict(self.model.init(key, begun(batch["tokens"])))

  def loss(
    self,
    variables: Any,
    batch: Batch,
    *,
    keys: Keys,
    step: Any,
    frozen: Any = None,
  ) -> tuple[Float[Array, "batch"], tuple[Any, dict[str, Array]]]:
    """Negative log probability of every sentence, in nat."""
    rngs = {"dropout": keys.step("dropout")}
    return self._compare(variables, batch, train=True, rngs=rngs), ({}, {})

  def evaluate(
    self, variables: Any, batch: Batch, *, keys: Keys, frozen: Any = None
  ) -> Mapping[str, Any]:
    """`loss` per token."""
    length = jnp.asarray(batch["tokens_length"])
    value = self._compare(variables, batch, train=False)
    return {"loss": Mean(value, length + 1.0)}

  def summarize(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """`perplexity` per token, ends of sentences included."""
    nats = sum(float(row["loss"].total) for row in rows)
    steps = sum(float(row["loss"].weight) for row in rows)
    return {"perplexity": math.exp(nats / steps)}

  def describe(self) -> dict[str, Any]:
    """What fixes the meaning of the parameters, as JSON values."""
    return {
      "task": "language_model",
      "model": json_values.encode(self.model),
      "sample_rate_hz": self.sample_rate_hz,
    }

  def _compare(self, variables, batch, **options):
    tokens = jnp.asarray(batch["tokens"])
    logits = self.model.apply(variables, begun(tokens), **options)
    length = jnp.asarray(batch["tokens_length"])
    steps = jnp.arange(logits.shape[1])[None]
    due = jnp.pad(tokens, ((0, 0), (0, 1)))
    due = jnp.where(steps == length[:, None], text.EOS, due)
    logs = jax.nn.log_softmax(logits)
    logs = jnp.take_along_axis(logs, due[..., None], axis=-1)[..., 0]
    return -jnp.sum(logs, axis=1, where=steps <= length[:, None])


def begun(tokens: Int[Array, "batch labels"]) -> Int[Array, "batch steps"]:
  """Rows of tokens after the begin of a sentence."""
  tokens = jnp.asarray(tokens)
  return jnp.pad(tokens, ((0, 0), (1, 0)), constant_values=text.BOS)


def _num_steps(length):
  """Tokens and the end; none of a row that says nothing and costs nothing."""
  return jnp.where(length > 0, length + 1.0, 0.0)


def error_rates(
  rows: Sequence[Mapping[str, Any]], tokenizer: text.Tokenizer | None
) -> dict[str, float]:
  """Errors in `found` over `tokens`, of all rows; see `summarize`."""
  pairs = [
    [row[name][: row[f"{name}_length"]].tolist() for name in _COMPARED]
    for row in rows
  ]
  rates = {"token_error_rate": _error_rate(pairs)}
  if tokenizer is not None:
    words = [[tokenizer.decode(tokens) for tokens in pair] for pair in pairs]
    rates["word_error_rate"] = _error_rate(words)
  return rates


def _error_rate(pairs):
  counts = [text.word_errors(found, said) for found, said in pairs]
  errors, words = np.sum(counts, axis=0)
  return float(errors / words) if words else math.nan
