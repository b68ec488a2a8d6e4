import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxsep import inference

# Tokens 3, 4 and 5 are letters.
B, N, V, D = 3, 4, 6, 5
LENGTHS = [4, 3, 0]
STRINGS = [
  letters
  for n in range(N + 1)
  for letters in itertools.product((3, 4, 5), repeat=n)
]


class Toy:
  """A recurrent decoder with random weights, in JAX and step by step."""

  def __init__(self, seed):
    rng = np.random.default_rng(seed)
    self.start = rng.standard_normal((B, D)).astype("f4")
    self.inner = rng.standard_normal((D, D)).astype("f4")
    self.tokens = 2 * rng.standard_normal((V, D)).astype("f4")
    self.out = rng.standard_normal((D, V)).astype("f4")

  def step(self, state, tokens):
    state = jnp.tanh(state @ self.inner + jnp.asarray(self.tokens)[tokens])
    return jax.nn.log_softmax(state @ self.out), state

  def log_probability(self, row, letters, *, end=True):
    state, total, last = self.start[row], 0.0, 1
    for token in [*letters, 2] if end else letters:
      state = np.tanh(state @ self.inner + self.tokens[last])
      logits = state @ self.out
      total += logits[token] - np.log(np.exp(logits).sum())
      last = token
    return total


@pytest.fixture(scope="module")
def parts():
  """Decoder, language model, CTC frames, and CTC's probabilities by string."""
  rng = np.random.default_rng(4)
  frames = np.asarray(
    jax.nn.log_softmax(2 * rng.standard_normal((B, N, V)).astype("f4"))
  )
  # CTC also gives some probability to begin and end, which no string has.
  by_string = []
  for row, length in enumerate(LENGTHS):
    found = {}
    for path in itertools.product(range(V), repeat=length):
      string = tuple(t for t, _ in itertools.groupby(path) if t)
      found[string] = found.get(string, 0.0) + np.exp(
        sum(float(frames[row, n, t]) for n, t in enumerate(path))
      )
    by_string.append(found)
  return Toy(0), Toy(1), frames, by_string


def search(parts, rows=slice(None), *, lm=True, **options):
  decoder, other, frames, _ = parts
  options = {"max_length": N, "input_length": np.array(LENGTHS)[rows]} | options
  options.setdefault("ctc_log_probs", frames[rows])

  @jax.jit
  def run(start, lm_start):
    return inference.beam_search(
      start,
      decoder.step,
      lm=(lm_start, other.step) if lm else None,
      **options,
    )

  return run(decoder.start[rows], other.start[rows])


def ctc_of(parts, row, letters, *, end=True):
  found = parts[3][row]
  if not end:
    total = sum(p for s, p in found.items() if s[: len(letters)] == letters)
  else:
    total = found.get(letters, 0.0)
  return np.log(total) if total else -np.inf


def score_of(parts, row, letters, *, w=0.4, v=0.6, end=True):
  total = (1 - w) * parts[0].log_probability(row, letters, end=end)
  total += v * parts[1].log_probability(row, letters, end=end)
  return total + w * ctc_of(parts, row, letters, end=end) if w else total


def best_strings(parts, row, **weights):
  scores = {s: score_of(parts, row, s, **weights) for s in STRINGS}
  return sorted(scores.items(), key=lambda pair: -pair[1])


def loop(parts, row, *, beam_size, num_candidates, limit=N):
  """The same search as plain Python: one hypothesis after the other."""
  live, ended = [()], []
  for length in range(limit + 1):
    options = []
    for letters in live:
      nexts = {
        t: 0.6 * parts[0].log_probability(row, (*letters, t), end=False)
        + 0.6 * parts[1].log_probability(row, (*letters, t), end=False)
        for t in (3, 4, 5)
      }
      kept = sorted(nexts, key=lambda t: -nexts[t])[:num_candidates]
      if length < limit:
        options += [
          (score_of(parts, row, (*letters, t), end=False), (*letters, t), 0)
          for t in kept
        ]
      options.append((score_of(parts, row, letters), letters, 1))
    options.sort(key=lambda option: -option[0])
    ended += [o[:2] for o in options[:beam_size] if o[2] and o[0] > -np.inf]
    ended.sort(key=lambda option: -option[0])
    going = [o for o in options if not o[2]][:beam_size]
    live = [letters for _, letters, _ in going]
    if not going or (ended and going[0][0] <= ended[0][0]):
      break
  return ended[:beam_size]


def strings(found, row):
  tokens, length, score = (np.asarray(x)[row] for x in found)
  count = int(np.sum(score > -np.inf))
  return [tuple(tokens[k, : length[k]].tolist()) for k in range(count)]


@pytest.fixture(scope="module")
def found(parts):
  """What a beam of three hypotheses finds."""
  return search(parts, beam_size=3)


# Reference.


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_wide_beam_finds_the_best_of_all_strings(parts, weight):
  found = search(parts, ctc_weight=weight, beam_size=40, num_candidates=3)
  for row in range(B):
    (letters, score), *_ = best_strings(parts, row, w=weight)
    assert strings(found, row)[0] == letters
    np.testing.assert_allclose(found.score[row, 0], score, rtol=1e-4)
    for string, value in zip(
      strings(found, row), found.score[row], strict=False
    ):
      expected = score_of(parts, row, string, w=weight)
      np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("beam_size", "candidates"), [(1, 2), (2, 2), (3, 3)])
def test_narrow_beam_against_a_loop(parts, beam_size, candidates):
  found = search(parts, beam_size=beam_size, num_candidates=candidates)
  for row in range(B):
    expected = loop(parts, row, beam_size=beam_size, num_candidates=candidates)
    assert strings(found, row) == [letters for _, letters in expected]
    np.testing.assert_allclose(
      found.score[row, : len(expected)], [s for s, _ in expected], rtol=1e-4
    )


# Law.


def test_batch_equals_single_utterances(parts, found):
  single = search(parts, slice(1, 2), beam_size=3)
  assert strings(single, 0) == strings(found, 1)
  np.testing.assert_allclose(single.score[0], found.score[1], rtol=1e-5)


def test_rows_are_sorted_and_padded(found):
  score = np.asarray(found.score)
  assert np.all(score[:, 1:] <= score[:, :-1])
  inside = np.arange(N) < np.asarray(found.length)[..., None]
  ended = score[..., None] > -np.inf
  tokens = np.asarray(found.tokens)
  assert np.all(tokens[inside & ended] > 2)
  assert not np.any(tokens[~inside & ended])


def test_limit_of_each_utterance(parts):
  found = search(parts, beam_size=3, limit=np.array([2, 1, 0]), ctc_weight=0.0)
  free = search(parts, beam_size=3, ctc_weight=0.0)
  for row, limit in enumerate([2, 1, 0]):
    assert max(map(len, strings(found, row))) <= limit
    assert strings(found, row)
  assert max(len(strings(free, row)[0]) for row in range(B)) > 0


def test_lengths_are_normalised_on_request(parts):
  found = search(
    parts, beam_size=40, num_candidates=3, ctc_weight=0.0, normalize_length=True
  )
  for row in range(B):
    expected = max(
      score_of(parts, row, s, w=0.0) / (len(s) + 1) for s in STRINGS
    )
    np.testing.assert_allclose(found.score[row, 0], expected, rtol=1e-4)


def test_without_language_model(parts):
  found = search(parts, lm=False, beam_size=40, num_candidates=3)
  letters, score = best_strings(parts, 0, v=0.0)[0]
  assert strings(found, 0)[0] == letters
  np.testing.assert_allclose(found.score[0, 0], score, rtol=1e-4)


# Edge.


def test_what_has_no_weight_does_not_count(parts):
  """Not even if it rules out every token, or is damaged."""

  def step(state, tokens):
    never = jnp.full((*tokens.shape, V), -jnp.inf)
    return never.at[..., 2].set(jnp.nan), state

  found = jax.jit(
    lambda frames: inference.beam_search(
      jnp.zeros(B),
      step,
      max_length=N,
      ctc_log_probs=frames,
      input_length=np.array(LENGTHS),
      ctc_weight=1,
      lm=(jnp.zeros(B), step),
      lm_weight=0,
      beam_size=3,
    )
  )(parts[2])
  alone = search(parts, ctc_weight=1, lm=False, beam_size=3)
  for row in range(B):
    assert strings(found, row) == strings(alone, row)
    np.testing.assert_allclose(found.score[row], alone.score[row], rtol=1e-5)


def test_no_frames_is_no_words(found):
  assert strings(found, 2) == [()]


def test_long_utterances_against_the_loss(parts):
  """The probability of 1,000 frames is far below the least float32."""
  rng = np.random.default_rng(0)
  logits = rng.standard_normal((B, 1000, V)).astype("f4")
  found = search(
    parts,
    ctc_log_probs=jax.nn.log_softmax(logits),
    input_length=np.full(B, 1000),
    ctc_weight=1.0,
    lm=False,
    beam_size=2,
  )
  loss = optax.ctc_loss(
    logits, np.zeros((B, 1000)), found.tokens[:, 0], np.zeros((B, N))
  )
  assert np.all(found.length[:, 0] == N) and np.all(loss > 500)
  np.testing.assert_allclose(found.score[:, 0], -loss, rtol=1e-5)


# Greedy.


def test_greedy_against_merging():
  rng = np.random.default_rng(0)
  frames = rng.standard_normal((4, 9, 5)).astype("f4")
  lengths = np.array([9, 5, 1, 0])
  tokens, length = jax.jit(inference.greedy_ctc)(frames, lengths)
  for row, size in enumerate(lengths):
    best = frames[row, :size].argmax(-1)
    merged = [t for t, _ in itertools.groupby(best) if t]
    assert tokens[row, : length[row]].tolist() == merged
    assert not np.any(tokens[row, length[row] :])


# Failure.


def test_bad_options(parts):
  with pytest.raises(ValueError, match="beam_size 0 must be positive"):
    search(parts, beam_size=0)
  with pytest.raises(ValueError, match="ctc_weight 2 from 0 to 1"):
    search(parts, ctc_weight=2)
