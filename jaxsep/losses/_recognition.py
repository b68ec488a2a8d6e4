"""Losses of speech recognition."""

import jax
import jax.numpy as jnp
import optax

from jaxsep.dsp import at_least_float32
from jaxsep.typing import Array, Bool, Float, Int

# The blank of CTC and the end of a sentence, as in `jaxsep.text`.
_BLANK, _EOS = 0, 2


def ctc_attention(
  ctc_logits: Float[Array, "batch frames tokens"],
  decoder_logits: Float[Array, "batch steps tokens"],
  labels: Int[Array, "batch labels"],
  input_length: Int[Array, "batch"],
  label_length: Int[Array, "batch"],
  *,
  ctc_weight: float = 0.2,
  label_smoothing: float = 0.1,
  unigram: Float[Array, "tokens"] | None = None,
) -> Float[Array, "batch"]:
  """Negative log probability of the labels, by CTC and by a decoder.

  `w L_ctc + (1 - w) L_decoder` of each row, both summed over the row. A row
  without labels, such as a silent source, costs 0. Labels that do not fit into
  the frames (see `ctc_fits`) cost 0 in the CTC part.

  The decoder's part is the cross-entropy with smoothed labels less the entropy
  of those, so that 0 is the least: the token that is due gets `1 -
  label_smoothing`, the others share the rest.

  Args:
    ctc_logits: Scores of each frame, shape `[B, N, V]`; token 0 is the blank.
    decoder_logits: Scores of the tokens after the begin of the sentence and
      after each label, shape `[B, U + 1, V]`. After the last label, token 2,
      the end, is due.
    labels: Tokens, shape `[B, U]`; after its length, a row may hold anything.
    input_length: Frames of each row, shape `[B]`.
    label_length: Labels of each row, shape `[B]`.
    ctc_weight: Weight w of CTC, from 0 to 1.
    label_smoothing: Probability that the tokens share that are not due.
    unigram: Counts of the tokens in the training labels, shape `[V]`, in whose
      proportion they share it; None shares it evenly.

  Returns:
    Loss, shape `[B]`, float32, in nat.

  Raises:
    ValueError: If the shapes do not agree or a weight is not from 0 to 1.

  References:
    Watanabe et al., Hybrid CTC/attention architecture for end-to-end speech
    recognition, 2017, eq. (19); equation (7) of the paper in
    `experiments/separation_for_asr`, negated. Graves et al., Connectionist
    temporal classification, ICML 2006.

  Example:
    >>> logits = jnp.zeros((1, 2, 4))
    >>> one, length = jnp.array([[3]]), jnp.array([2])
    >>> # Of 16 alignments in two frames, three give the label.
    >>> print(jnp.exp(-ctc_attention(logits, logits, one, length, length - 1,
    ...   ctc_weight=1.0)) * 16)
    [3.]
  """
  _check(ctc_logits, decoder_logits, labels, ctc_weight, label_smoothing)
  fits = ctc_fits(labels, input_length, label_length)
  valid = _before(label_length, labels.shape[1])
  labels = jnp.where(valid, labels, _BLANK)
  ctc = optax.ctc_loss(
    at_least_float32(ctc_logits),
    1.0 - _before(input_length, ctc_logits.shape[1]),
    labels,
    1.0 - valid,
    blank_id=_BLANK,
  )
  # Where nothing fits, optax gives about 1e5 and a gradient.
  ctc = jnp.where(fits, ctc, 0.0)
  decoder = _decoder_loss(
    decoder_logits, labels, label_length, label_smoothing, unigram
  )
  loss = ctc_weight * ctc + (1 - ctc_weight) * decoder
  return jnp.where(label_length > 0, loss, 0.0)


def ctc_fits(
  labels: Int[Array, "batch labels"],
  input_length: Int[Array, "batch"],
  label_length: Int[Array, "batch"],
) -> Bool[Array, "batch"]:
  """Whether CTC can align labels to frames.

  It needs a frame for each label, and one for the blank between two equal ones.

  Args:
    labels: Tokens, shape `[B, U]`.
    input_length: Frames of each row, shape `[B]`.
    label_length: Labels of each row, shape `[B]`.

  Returns:
    Booleans, shape `[B]`.

  Example:
    >>> labels = jnp.array([[5, 5, 7], [5, 6, 7]])
    >>> print(ctc_fits(labels, jnp.array([3, 3]), jnp.array([3, 3])))
    [False  True]
  """
  repeated = jnp.asarray(labels[:, 1:] == labels[:, :-1])
  inside = _before(label_length - 1, repeated.shape[1])
  return label_length + jnp.sum(repeated & inside, axis=1) <= input_length


def _decoder_loss(logits, labels, label_length, smoothing, unigram):
  """Divergence from the smoothed labels, summed over the steps of each row."""
  logs = jax.nn.log_softmax(at_least_float32(logits), axis=-1)
  size = logs.shape[-1]
  steps = jnp.arange(logs.shape[1])[None]
  due = jnp.pad(labels, ((0, 0), (0, 1)))
  due = jnp.where(steps == label_length[:, None], _EOS, due)
  counts = jnp.ones(size) if unigram is None else jnp.asarray(unigram)
  share = counts / jnp.sum(counts)
  # Of each step: the probability that is due, and what the others get.
  log_due = jnp.take_along_axis(logs, due[..., None], axis=-1)[..., 0]
  share_due = share[due]
  rest = jnp.maximum(1.0 - share_due, 1e-7)
  log_others = jnp.einsum("bsv,v->bs", logs, share) - share_due * log_due
  entropy = jnp.sum(jax.scipy.special.xlogy(share, share))
  entropy -= jax.scipy.special.xlogy(share_due, share_due)
  # sum_v q_v (log q_v - log p_v), where q_v = smoothing * share_v / rest.
  loss = jax.scipy.special.xlogy(1 - smoothing, 1 - smoothing)
  loss += jax.scipy.special.xlogy(smoothing, smoothing)
  loss += smoothing * (entropy / rest - jnp.log(rest))
  loss -= (1 - smoothing) * log_due + smoothing * log_others / rest
  return jnp.sum(loss, axis=1, where=steps <= label_length[:, None])


def _before(length, size):
  """Which of `size` places lie before the length, `[B, size]`."""
  return jnp.arange(size)[None] < jnp.asarray(length)[:, None]


def _check(ctc_logits, decoder_logits, labels, ctc_weight, label_smoothing):
  """Raises a ValueError for shapes or weights that are wrong."""
  batch, steps, size = decoder_logits.shape
  if ctc_logits.shape[::2] != (batch, size) or labels.shape != (
    batch,
    steps - 1,
  ):
    raise ValueError(
      f"ctc_logits {ctc_logits.shape}, decoder_logits {decoder_logits.shape}"
      f" and labels {labels.shape} must be [B, N, V], [B, U + 1, V] and [B, U]"
    )
  for name, value in (
    ("ctc_weight", ctc_weight),
    ("label_smoothing", label_smoothing),
  ):
    if not 0 <= value <= 1:
      raise ValueError(f"{name} {value} must be from 0 to 1")
