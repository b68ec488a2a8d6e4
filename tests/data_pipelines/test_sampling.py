"""Draws that depend on nothing but seed and index."""

import numpy as np
import pytest

from data_pipelines import sampling
from data_pipelines.corpora import Corpus, CorpusError


def table(speaker, length=None, rate_hz=None):
  """A corpus that is never read."""
  size = len(speaker)
  names = tuple(f"s{i}" for i in range(max(speaker, default=0) + 1))
  return Corpus(
    path=[f"row{i}" for i in range(size)],
    start=np.zeros(size),
    length=np.full(size, 8000) if length is None else length,
    rate_hz=np.full(size, 8000) if rate_hz is None else rate_hz,
    speaker=speaker,
    text=[""] * size,
    speakers=names,
  )


# Speakers with very different numbers of utterances, not side by side.
SPEAKER = np.array([0] * 20 + [1, 2, 2, 3, 3, 3] + [0] * 10 + [1, 4])


def recipe_arrays(recipe):
  return vars(recipe)


def test_shuffle_visits_everything_once_an_epoch():
  for size in (1, 2, 3, 7, 36, 251):
    for epoch in (0, 1, 5):
      index = np.arange(epoch * size, (epoch + 1) * size)
      seen = sampling.shuffle(index, size=size, seed=4)
      assert sorted(seen.tolist()) == list(range(size))


def test_shuffle_is_random():
  size, epochs = 64, 640
  order = sampling.shuffle(np.arange(size * epochs), size=size, seed=4)
  order = order.reshape(epochs, size)
  # Which place a thing takes: 10 visits expected everywhere. An unrelated
  # epoch gives a chi-square of (size - 1)**2 or so.
  count = np.zeros((size, size))
  np.add.at(count, (np.arange(size)[None], order), 1)
  assert ((count - 10) ** 2 / 10).sum() < 1.2 * (size - 1) ** 2
  # What follows what: one of 64 neighbours is the next number, by chance.
  assert np.mean(np.diff(order, axis=1) % size == 1) == pytest.approx(
    1 / size, rel=0.2
  )
  other = sampling.shuffle(np.arange(size * epochs), size=size, seed=5)
  assert np.mean(other.reshape(order.shape) == order) < 0.1


def test_uniform_is_uniform():
  drawn = sampling.uniform(3, np.arange(200)[:, None], 7, np.arange(500))
  assert drawn.shape == (200, 500)
  assert 0 <= drawn.min() and drawn.max() < 1
  counts, _ = np.histogram(drawn, bins=100, range=(0, 1))
  assert ((counts - 1000) ** 2 / 1000).sum() < 160
  assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.3
  assert abs(np.corrcoef(drawn[1:].ravel(), drawn[:-1].ravel())[0, 1]) < 0.02
  assert len(np.unique(drawn)) == drawn.size


def test_counters_are_not_interchangeable():
  assert sampling.bits(0, 1, 2) != sampling.bits(0, 2, 1)
  assert sampling.bits(0, 1) != sampling.bits(1, 0)
  assert sampling.bits(-1, 0) == sampling.bits(2**64 - 1, 0)


def test_example_is_a_function_of_its_index():
  corpus = table(SPEAKER)
  options = {
    "num_sources": 3,
    "speed_range": (0.9, 1.1),
    "noise": corpus,
    "rirs": corpus,
  }
  sampler = sampling.Sampler(corpus, seed=1, **options)
  whole = recipe_arrays(sampler.draw(np.arange(100)))
  assert len(whole) == 7
  again = sampling.Sampler(corpus, seed=1, **options)
  order = np.random.default_rng(0).permutation(100)
  shuffled = recipe_arrays(again.draw(order))
  alone = recipe_arrays(again.draw(np.array([42])))
  for name, values in whole.items():
    np.testing.assert_array_equal(shuffled[name], values[order])
    np.testing.assert_array_equal(alone[name], values[42:43])
  other = recipe_arrays(sampling.Sampler(corpus, seed=2, **options).draw(order))
  for name in set(whole) - {"index"}:
    assert np.mean(other[name] == shuffled[name]) < 0.7


def test_options_do_not_disturb_each_other():
  corpus = table(SPEAKER)
  plain = sampling.Sampler(corpus, num_sources=2, seed=1)
  full = sampling.Sampler(
    corpus, num_sources=3, seed=1, speed_range=(0.5, 2), noise=corpus
  )
  index = np.arange(50)
  np.testing.assert_array_equal(
    plain.draw(index).row, full.draw(index).row[:, :2]
  )
  np.testing.assert_array_equal(
    plain.draw(index).start, full.draw(index).start[:, :2]
  )


def test_speakers_differ_and_all_is_visited():
  corpus = table(SPEAKER)
  sampler = sampling.Sampler(corpus, num_sources=5, seed=1)
  recipe = sampler.draw(np.arange(4 * len(corpus)))
  speakers = np.sort(corpus.speaker[recipe.row], axis=1)
  np.testing.assert_array_equal(speakers, np.tile(np.arange(5), (152, 1)))
  visits = np.bincount(recipe.row[:, 0], minlength=len(corpus))
  np.testing.assert_array_equal(visits, 4)


def test_partners_are_uniform_over_the_utterances_of_others():
  corpus = table(SPEAKER)
  sampler = sampling.Sampler(corpus, num_sources=2, seed=1)
  rows = sampler.draw(np.arange(len(corpus) * 600)).row
  first_is_0 = corpus.speaker[rows[:, 0]] == 0
  count = np.bincount(rows[first_is_0, 1], minlength=len(corpus))
  others = np.flatnonzero(corpus.speaker != 0)
  assert count[corpus.speaker == 0].sum() == 0
  expected = first_is_0.sum() / len(others)
  np.testing.assert_allclose(count[others], expected, rtol=0.1)


def test_weighting_by_duration():
  # 4 utterances that fill 1, 1, 2 and 5 crops of a second.
  corpus = table(
    [0, 1, 0, 1],
    length=[4000, 16000, 16000, 40000],
    rate_hz=[8000, 16000, 8000, 8000],
  )
  sampler = sampling.Sampler(
    corpus, num_sources=2, seed=0, seconds_per_draw=1.0
  )
  assert sampler.epoch_size == 9
  rows = sampler.draw(np.arange(9 * 200)).row
  np.testing.assert_array_equal(np.bincount(rows[:, 0]), [200, 200, 400, 1000])
  partners = np.bincount(rows[corpus.speaker[rows[:, 0]] == 0, 1])
  assert partners[3] / partners[1] == pytest.approx(5, rel=0.3)


def test_rooms():
  # Room 0 has three responses, room 1 one, room 2 two.
  rirs = table([0, 1, 0, 2, 0, 2])
  sampler = sampling.Sampler(table([0, 1]), num_sources=2, seed=0, rirs=rirs)
  rows = sampler.draw(np.arange(600)).rir_row
  rooms = rirs.speaker[rows]
  np.testing.assert_array_equal(rooms[:, 0], rooms[:, 1])
  same = rows[:, 0] == rows[:, 1]
  np.testing.assert_array_equal(same, rooms[:, 0] == 1)
  assert set(rows.ravel()) == set(range(6))
  share = np.bincount(rooms[:, 0]) / 600
  np.testing.assert_allclose(share, [1 / 2, 1 / 6, 1 / 3], atol=0.06)


def test_redraw():
  corpus = table(SPEAKER)
  sampler = sampling.Sampler(corpus, num_sources=3, seed=1)
  recipe = sampler.draw(np.arange(8))
  drawn = [
    sampler.redraw(recipe.row, recipe.index, 5, 1, attempt)
    for attempt in range(1, 20)
  ]
  assert drawn[0] == sampler.redraw(recipe.row, recipe.index, 5, 1, 1)
  others = corpus.speaker[recipe.row[5, [0, 2]]]
  for row, start, speed in drawn:
    assert corpus.speaker[row] not in others
    assert 0 <= start < 1 and speed == 1
  assert len({row for row, _, _ in drawn}) > 3


def test_speed_stays_in_range():
  sampler = sampling.Sampler(
    table([0, 1]), num_sources=2, seed=0, speed_range=(0.9, 1.1)
  )
  speed = sampler.draw(np.arange(1000)).speed
  assert 0.9 <= speed.min() < 0.905 and 1.095 < speed.max() <= 1.1


def test_too_few_speakers_is_refused_in_one_line():
  with pytest.raises(CorpusError, match="has 2 speakers, too few") as caught:
    sampling.Sampler(table([0, 1, 1]), num_sources=3, seed=0)
  assert "\n" not in str(caught.value)
  sampling.Sampler(table([0, 0]), num_sources=1, seed=0)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"num_sources": 0}, "num_sources is 0"),
    ({"speed_range": (1.1, 0.9)}, "0 < slowest <= fastest"),
    ({"speed_range": (0.0, 1.0)}, "0 < slowest <= fastest"),
    ({"noise": table([])}, "given as noise is empty"),
    ({"rirs": table([])}, "given as rirs is empty"),
  ],
)
def test_bad_options(options, message):
  with pytest.raises(ValueError, match=message):
    sampling.Sampler(table([0, 1]), **{"num_sources": 2, "seed": 0} | options)


def test_empty_corpus():
  with pytest.raises(CorpusError, match="holds no utterance"):
    sampling.Sampler(table([]), num_sources=1, seed=0)
