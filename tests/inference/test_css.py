"""Windows of meetings: cut, separated in any order, and joined."""

import flax.linen as nn
import hypothesis
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from jaxsep import inference

RATE = 100
WINDOW, HISTORY, CURRENT = 240, 120, 80
WINDOWS = inference.CssWindows(sample_rate_hz=RATE)
SIZES = {
  "sample_rate_hz": RATE,
  "cut": WINDOWS,
  "join": inference.CssJoin,
  "even_level": False,
}


class Fixed(nn.Module):
  """Answers with the mixture times given gains."""

  gains: tuple[float, ...] = (1.0, 1.0)

  @nn.compact
  def __call__(self, mixture, *, length=None):
    return mixture[:, None] * jnp.array(self.gains)[None, :, None]


def sources(length, num_sources=2, seed=0):
  generator = np.random.default_rng(seed)
  return generator.normal(0, 0.1, (num_sources, length)).astype(np.float32)


def shuffled(references, windows=WINDOWS, **options):
  """What is joined of windows of the sources, each in an order of its own."""
  generator = np.random.default_rng(1)
  join = inference.CssJoin(len(references), sample_rate_hz=RATE, **options)
  parts = []
  for chunk in windows([references.sum(axis=0)]):
    window = references[:, chunk.start : chunk.start + len(chunk.samples)]
    window = np.pad(window, ((0, 0), (0, chunk.num_zeros)))
    order = generator.permutation(len(references))
    parts.append(join.add(chunk, window[order] * np.float32(7)))
  return np.concatenate([*parts, join.flush()], axis=1)


def stitched(mixture, estimates):
  """The rule, written for whole windows `[window, S, T]`."""
  joined = np.zeros((estimates.shape[1], len(mixture)))
  last = None
  gram = match = 0.0
  for n, estimate in enumerate(estimates):
    start = n * CURRENT
    window = np.zeros(WINDOW)
    window[: len(mixture) - start] = mixture[start : start + WINDOW]
    gram, match = gram + estimate @ estimate.T, match + estimate @ window
    gain = match.sum() / max(gram.sum(), 0.1 * gram.trace())
    if last is not None:
      pairs = [
        [np.abs(a[CURRENT:] - b[:-CURRENT]).sum() for b in estimate]
        for a in last
      ]
      estimate = estimate[optimize.linear_sum_assignment(pairs)[1]]
    last = estimate
    # Later windows replace all but what is history to them.
    begin = HISTORY if n else 0
    joined[:, start + begin : start + WINDOW] = (
      gain * estimate[:, begin : begin + len(mixture) - start - begin]
    )
  return joined


# Reference.


@pytest.mark.parametrize("num_sources", [2, 3])
def test_as_the_rule_written_for_whole_windows(num_sources):
  length = 7 * CURRENT + WINDOW - 33
  mixture = sources(length, 1)[0]
  generator = np.random.default_rng(2)
  chunks = list(WINDOWS(np.split(mixture, [1, 300, 301])))
  estimates = generator.normal(size=(len(chunks), num_sources, WINDOW))
  estimates = estimates.astype(np.float32)
  join = inference.CssJoin(num_sources, sample_rate_hz=RATE)
  parts = [join.add(*pair) for pair in zip(chunks, estimates, strict=True)]
  joined = np.concatenate([*parts, join.flush()], axis=1)
  expected = stitched(mixture, estimates)
  assert joined.shape == expected.shape
  np.testing.assert_allclose(joined, expected, rtol=1e-5, atol=1e-7)


# Laws.


@pytest.mark.parametrize("num_sources", [2, 3])
def test_windows_in_any_order_come_back_in_one(num_sources):
  references = sources(2000, num_sources)
  joined = shuffled(references)
  order = [np.abs(references - row).sum(axis=1).argmin() for row in joined]
  assert sorted(order) == list(range(num_sources))
  np.testing.assert_allclose(joined, references[order], rtol=1e-4, atol=1e-6)


@hypothesis.given(
  length=st.one_of(
    st.integers(1, 900),
    st.sampled_from([WINDOW, WINDOW + 1, WINDOW + CURRENT, 720, 721]),
  ),
  places=st.lists(st.integers(0, 900), max_size=3),
)
@hypothesis.settings(deadline=None, max_examples=30)
def test_a_model_that_changes_nothing(length, places):
  """Any length, in any blocks: as long as it was, half in each source."""
  mixture = 30 * sources(length, 1)[0]
  blocks = np.split(mixture, sorted(min(place, length) for place in places))
  counts = []
  parts = inference.separate_blocks(
    Fixed(), {}, blocks, progress=counts.append, **SIZES
  )
  joined = np.concatenate(list(parts), axis=1)
  np.testing.assert_allclose(joined, [mixture / 2] * 2, rtol=1e-5)
  assert sum(counts) == length


def test_sources_have_one_gain():
  mixture = sources(1000, 1)[0]
  joined = inference.separate(Fixed((8.0, -2.0)), {}, mixture, **SIZES)
  # Together they are 6 times the mixture.
  expected = np.stack([8 / 6 * mixture, -2 / 6 * mixture])
  np.testing.assert_allclose(joined, expected, rtol=1e-5, atol=1e-8)


def test_little_is_held_at_a_time():
  read, given = 0, 0

  def blocks():
    nonlocal read
    for n in range(60):
      read += 50
      yield sources(50, 1, n)[0]

  parts = inference.separate_blocks(Fixed(), {}, blocks(), **SIZES)
  for part in parts:
    given += part.shape[1]
    assert read - given < 3 * WINDOW
  assert given == read == 3000


# Edges.


def test_silence_gives_silence():
  joined = inference.separate(Fixed(), {}, np.zeros(555, np.float32), **SIZES)
  np.testing.assert_array_equal(joined, np.zeros((2, 555)))


def test_windows_without_a_history_or_future():
  parts_s = {"history_s": 0.0, "current_s": 0.5}
  windows = inference.CssWindows(sample_rate_hz=RATE, future_s=0.0, **parts_s)
  joined = inference.separate(
    Fixed(),
    {},
    sources(333, 1)[0],
    sample_rate_hz=RATE,
    cut=windows,
    join=lambda n, **rate: inference.CssJoin(n, **parts_s, **rate),
    even_level=False,
  )
  np.testing.assert_allclose(joined[1], sources(333, 1)[0] / 2, rtol=1e-5)


# Failures.


def test_windows_that_do_not_fit():
  for options in ({"current_s": 0.0}, {"history_s": -1.0}, {"future_s": -0.1}):
    with pytest.raises(ValueError, match="a current part of a sample or more"):
      inference.CssWindows(sample_rate_hz=RATE, **options)
  with pytest.raises(ValueError, match="begins at sample 80 instead of 40"):
    shuffled(sources(500), current_s=0.4)
