"""The peer of the beam search's benchmark finds the same hypotheses."""

import jax
import numpy as np
import pytest

from jaxsep import inference, models

torch = pytest.importorskip("torch")
from experiments.benchmarks import beam_search_torch  # noqa: E402

B, N, V = 2, 9, 40


def test_hypotheses_are_the_same():
  model = models.Recognizer(
    V, size=16, num_layers=1, num_heads=2, num_decoder_layers=2
  )
  rng = np.random.default_rng(0)
  inputs = model.example_inputs()
  shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), **inputs))
  variables = jax.tree.map(
    lambda leaf: rng.normal(0, 0.4, leaf.shape).astype("f4"), shapes
  )
  encoded = rng.standard_normal((B, N, 16)).astype("f4")
  logits = 2 * rng.standard_normal((B, N, V)).astype("f4")
  scores = np.asarray(jax.nn.log_softmax(logits))
  options = {"beam_size": 4, "max_length": 5, "ctc_weight": 0.4}

  @jax.jit
  def search(variables):
    length = np.full(B, N)
    shared, start = model.apply(
      variables, encoded, length, 6, method="search_start"
    )
    return inference.beam_search(
      start,
      lambda state, tokens: model.apply(
        variables, shared, state, tokens, method="search_step"
      ),
      ctc_log_probs=scores,
      **options,
    )

  found = search(variables)
  decoder = beam_search_torch.Decoder(variables["params"], 2)
  for row in range(B):
    score, tokens = beam_search_torch.search(
      decoder, encoded[row], scores[row], **options
    )
    assert len(tokens) == found.length[row, 0] > 0
    assert list(tokens) == found.tokens[row, 0, : len(tokens)].tolist()
    np.testing.assert_allclose(score, found.score[row, 0], rtol=1e-4)
