import jax
import jax.numpy as jnp
import numpy as np
from random_params import random_params

from jaxsep import inference, losses, models

MODEL = models.Recognizer(
  7,
  num_mels=16,
  size=8,
  num_layers=1,
  num_heads=2,
  feedforward_size=16,
  num_decoder_layers=1,
)
LM = models.LSTMLanguageModel(7, size=8, num_layers=1)


def test_scores_are_those_of_the_models():
  """Of the best tokens: the loss without smoothing, and the LM's score."""
  rng = np.random.default_rng(0)
  signal = rng.standard_normal((2, 5000)).astype(np.float32)
  length = np.array([5000, 3000])
  variables = random_params(MODEL, **MODEL.example_inputs())
  weights = random_params(LM, **LM.example_inputs())
  found = jax.jit(
    lambda v, w, x: inference.recognize(
      MODEL,
      v,
      x,
      length=length,
      language_model=(LM, w),
      max_length=3,
      beam_size=3,
      ctc_weight=0.3,
      lm_weight=0.5,
    )
  )(variables, weights, signal)
  tokens, count = found.tokens[:, 0], found.length[:, 0]
  begun = jnp.pad(tokens, ((0, 0), (1, 0)), constant_values=1)
  ctc, decoder, frames = jax.jit(MODEL.apply)(
    variables, signal, begun, length=length
  )
  loss = losses.ctc_attention(
    ctc,
    decoder,
    tokens,
    frames,
    count,
    ctc_weight=0.3,
    label_smoothing=0.0,
  )
  logs = jax.nn.log_softmax(jax.jit(LM.apply)(weights, begun))
  for row in range(2):
    due = [*np.asarray(tokens[row, : count[row]]), 2]
    score = sum(float(logs[row, n, token]) for n, token in enumerate(due))
    expected = 0.5 * score - loss[row]
    assert count[row] > 0
    np.testing.assert_allclose(found.score[row, 0], expected, rtol=1e-4)
