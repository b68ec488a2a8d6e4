"""Separation that is trained by a recogniser."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from jaxsep import inference, json_values, losses
from jaxsep.tasks.feature_separation import FeatureSeparationTask
from jaxsep.tasks.recognition import TextTask, begun, error_rates
from jaxsep.tasks.separation import length_of
from jaxsep.tasks.task import Batch, Keys, Mean
from jaxsep.typing import Array, Float


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecognizedSeparationTask(TextTask, FeatureSeparationTask):
  """Trains a separator by the errors of a recogniser of its estimates: L_ASR.

  The recogniser hears the masked magnitudes of each speaker. Its variables are
  `frozen["recognizer"]`: gradients go through it, and do not change it. The
  order of the estimates is that with the least distance of the magnitudes, so
  that each estimate is recognised once. The paper starts from a model that was
  trained as in `FeatureSeparationTask`; without that, training is unstable.

  Batches also have `tokens` `[B, S, U]`, without begin and end, with
  `tokens_length` `[B, S]`. A speaker without tokens, such as the second one of
  a mixture of one, is not recognised.

  Attributes:
    recognizer: A module with the methods of `models.Recognizer`, and the
      spectra and the sample rate of `model`.
    tokenizer: The recogniser's, see `RecognitionTask`.
    ctc_weight: See `losses.ctc_attention`; so are the next two. They should be
      those that the recogniser was trained with.
    label_smoothing: Probability of the tokens that are not due.
    unigram: Counts of the tokens in the recogniser's training labels, or None.
    num_mels: For the distance that settles the order; None for magnitudes.

  References:
    Wu, Chen, Wang, Li and Yoshioka, Investigation of practical aspects of
    single channel speech separation for ASR, 2021, eq. (7).
  """

  recognizer: Any
  ctc_weight: float = 0.2
  label_smoothing: float = 0.1
  unigram: Sequence[float | int] | None = None
  num_mels: int | None = None

  def loss(
    self,
    variables: Any,
    batch: Batch,
    *,
    keys: Keys,
    step: Any,
    frozen: Any = None,
  ) -> tuple[Float[Array, "batch"], tuple[Any, dict[str, Array]]]:
    """The sum of the recogniser's losses over the speakers.

    `scalars` has the share of speakers whose tokens do not fit into the frames.
    """
    mixed = self._mixed(batch, keys)
    spectra, changed = self._trained(variables, mixed, keys)
    _, permutation = self._compare(spectra, mixed)
    spectra = losses.reorder(spectra, permutation)
    outputs = self._recognize(frozen, spectra, mixed)
    fits = losses.ctc_fits(
      _rows(mixed["tokens"]), outputs[2], _rows(mixed["tokens_length"])
    )
    unfit = jnp.mean(1.0 - fits.reshape(spectra.shape[:2]), axis=1)
    return self._recognition_loss(outputs, mixed), (changed, {"unfit": unfit})

  def evaluate(
    self, variables: Any, batch: Batch, *, keys: Keys, frozen: Any = None
  ) -> Mapping[str, Any]:
    """Loss per token, ratios, and the tokens that `summarize` counts.

    Returns:
      `loss`; the ratios of `SeparationTask.evaluate`, `[B]`, means over the
      speakers; `found` `[B, S, N]`, by greedy CTC, and `tokens` `[B, S, U]`,
      with their lengths `[B, S]`.
    """
    ratios = super().evaluate(variables, batch, keys=keys)
    mixed = self._mixed(batch, keys)
    spectra = self._output(variables, mixed, train=False)
    _, permutation = self._compare(spectra, mixed)
    spectra = losses.reorder(spectra, permutation)
    outputs = self._recognize(frozen, spectra, mixed)
    found, found_length = inference.greedy_ctc(outputs[0], outputs[2])
    sources = spectra.shape[:2]
    length = jnp.asarray(mixed["tokens_length"])
    num_steps = jnp.sum(jnp.where(length > 0, length + 1.0, 0.0), axis=1)
    value = self._recognition_loss(outputs, mixed)
    return {
      name: jnp.mean(x, axis=1) for name, x in ratios.items() if x.ndim > 1
    } | {
      "loss": Mean(value, num_steps),
      "found": found.reshape(*sources, -1),
      "found_length": found_length.reshape(sources),
      "tokens": jnp.asarray(mixed["tokens"]),
      "tokens_length": length,
    }

  def summarize(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Errors of greedy CTC over what was said, of all speakers together."""
    names = ("found", "tokens", "found_length", "tokens_length")
    speakers = [
      {name: row[name][s] for name in names}
      for row in rows
      for s in range(len(row["found"]))
      # Where nobody speaks, nothing is recognised in the training either.
      if row["tokens_length"][s]
    ]
    return error_rates(speakers, self.loaded_tokenizer)

  def describe(self) -> dict[str, Any]:
    """What fixes the meaning of the parameters, as JSON values."""
    unigram = None if self.unigram is None else list(map(float, self.unigram))
    return super().describe() | {
      "recognizer": json_values.encode(self.recognizer),
      "ctc_weight": self.ctc_weight,
      "label_smoothing": self.label_smoothing,
      "unigram": unigram,
    }

  def _recognize(self, frozen, spectra, mixed):
    """What the recogniser gives for spectra `[B, S, N, F]`, rows `[B * S]`."""
    self._check(frozen)
    num_frames = self.model.stft.num_frames(length_of(mixed))
    magnitudes = jnp.abs(spectra).reshape(-1, *spectra.shape[2:])
    num_frames = jnp.repeat(num_frames, spectra.shape[1])
    tokens = begun(_rows(mixed["tokens"]))

    def outputs(recognizer):
      features = recognizer.features_of_spectra(magnitudes, num_frames)
      encoded, length = recognizer.encode(features, num_frames)
      logits = recognizer.decode(tokens, encoded, length)
      return recognizer.ctc(encoded), logits, length

    return self.recognizer.apply(frozen["recognizer"], method=outputs)

  def _recognition_loss(self, outputs, mixed):
    ctc_logits, decoder_logits, length = outputs
    value = losses.ctc_attention(
      ctc_logits,
      decoder_logits,
      _rows(mixed["tokens"]),
      length,
      _rows(mixed["tokens_length"]),
      ctc_weight=self.ctc_weight,
      label_smoothing=self.label_smoothing,
      unigram=None if self.unigram is None else jnp.array(self.unigram, "f4"),
    )
    return jnp.sum(value.reshape(mixed["tokens_length"].shape), axis=1)

  def _check(self, frozen):
    if not frozen or "recognizer" not in frozen:
      raise ValueError(
        "frozen['recognizer'], the variables of the recogniser, are missing"
      )
    theirs = self.recognizer.stft, self.recognizer.sample_rate_hz
    if theirs != (self.model.stft, self.sample_rate_hz):
      raise ValueError(
        f"the recogniser hears {theirs[0]} at {theirs[1]} Hz, the separator"
        f" gives {self.model.stft} at {self.sample_rate_hz} Hz"
      )


def _rows(values):
  """Values `[B, S, ...]` as `[B * S, ...]`."""
  values = jnp.asarray(values)
  return values.reshape(-1, *values.shape[2:])
