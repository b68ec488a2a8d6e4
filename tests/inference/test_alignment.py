import itertools

import numpy as np
import pytest

from jaxsep import inference


def log_probs(frames, tokens=6, seed=0):
  scores = np.random.default_rng(seed).standard_normal((frames, tokens))
  return scores - np.log(np.exp(scores).sum(-1, keepdims=True))


def merged(path):
  return [int(token) for token, _ in itertools.groupby(path) if token]


def score(frames, path):
  return sum(frames[n, token] for n, token in enumerate(path))


@pytest.mark.parametrize("tokens", [[], [3], [3, 4, 5], [3, 3], [4, 4, 3, 3]])
def test_against_all_alignments(tokens):
  frames = log_probs(6, seed=len(tokens))
  symbols = sorted({0, *tokens})
  paths = [
    path
    for path in itertools.product(symbols, repeat=6)
    if merged(path) == tokens
  ]
  best = max(paths, key=lambda path: score(frames, path))
  spans = inference.align_ctc(frames, tokens)
  found = np.zeros(6, int)
  for token, (first, last) in zip(tokens, spans, strict=True):
    found[first:last] = token
  assert merged(found) == tokens
  assert found.tolist() == list(best)


def test_greedy_tokens_are_where_they_were_found():
  frames = log_probs(200, 8).astype("f4")
  best = frames.argmax(-1)
  spans = inference.align_ctc(frames, merged(best))
  starts = np.flatnonzero((np.diff(best, prepend=0) != 0) & (best != 0))
  assert spans[:, 0].tolist() == starts.tolist()
  for (first, last), token in zip(spans, merged(best), strict=True):
    assert np.all(best[first:last] == token)


@pytest.mark.parametrize(("frames", "tokens"), [(2, [3, 3]), (1, [3, 4])])
def test_tokens_that_do_not_fit(frames, tokens):
  with pytest.raises(ValueError, match=f"do not fit into {frames} frames"):
    inference.align_ctc(log_probs(frames), tokens)
