"""Draws that depend on nothing but seed and index."""

import numpy as np
import pytest

from data_pipelines import sampling
from data_pipelines.corpora import Corpus, CorpusError


def table(speaker, length=None, rate_hz=None):
  """A corpus that is never read."""
  size = len(speaker)
  return Corpus(
    path=[f"row{i}" for i in range(size)],
    start=np.zeros(size),
    length=np.full(size, 8000) if length is None else length,
    rate_hz=np.full(size, 8000) if rate_hz is None else rate_hz,
    columns={"speaker": [f"s{i}" for i in speaker]},
  )


# Speakers with very different numbers of utterances, not side by side.
SPEAKER = np.array([0] * 20 + [1, 2, 2, 3, 3, 3] + [0] * 10 + [1, 4])


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


def draws(corpus, index, seed=1):
  """One draw of each kind."""
  rows = sampling.Rows(corpus, seed=seed)
  drawn = np.empty((len(index), 3), dtype=int)
  drawn[:, 0] = rows.walk(index)
  for source in (1, 2):
    drawn[:, source] = rows.another_speaker(index, drawn[:, :source], source)
  each = index[:, None], np.arange(3)
  return {
    "row": drawn,
    "same": rows.same_speaker(index, drawn[:, 0]),
    "share": sampling.crop_share(seed, *each),
    "speed": sampling.speed(seed, *each, (0.9, 1.1)),
    "noise": sampling.noise_row(seed, index, len(corpus)),
    "noise_share": sampling.noise_share(seed, index),
    "rir": sampling.Rooms(corpus, seed=seed).draw(index, 3),
  }


def test_a_draw_is_a_function_of_seed_and_index():
  corpus = table(SPEAKER)
  whole = draws(corpus, np.arange(100))
  order = np.random.default_rng(0).permutation(100)
  shuffled, other = draws(corpus, order), draws(corpus, order, seed=2)
  blocks = sampling.Blocks(lambda index: draws(corpus, index))
  for name, values in whole.items():
    np.testing.assert_array_equal(shuffled[name], values[order])
    np.testing.assert_array_equal(blocks(97)[name], values[97])
    assert np.mean(other[name] == shuffled[name]) < 0.7
  assert 0.9 <= whole["speed"].min() and whole["speed"].max() <= 1.1


def test_speakers_differ_and_all_is_visited():
  corpus = table(SPEAKER)
  rows = draws(corpus, np.arange(4 * len(corpus)))["row"]
  speakers = np.sort(corpus.speaker[rows], axis=1)
  assert (np.diff(speakers, axis=1) > 0).all()
  visits = np.bincount(rows[:, 0], minlength=len(corpus))
  np.testing.assert_array_equal(visits, 4)


def test_others_are_uniform_over_the_rows_of_other_speakers():
  corpus = table(SPEAKER)
  rows, index = sampling.Rows(corpus, seed=1), np.arange(len(corpus) * 600)
  first = rows.walk(index)
  second = rows.another_speaker(index, first[:, None], 1)
  first_is_0 = corpus.speaker[first] == 0
  count = np.bincount(second[first_is_0], minlength=len(corpus))
  others = np.flatnonzero(corpus.speaker != 0)
  assert count[corpus.speaker == 0].sum() == 0
  expected = first_is_0.sum() / len(others)
  np.testing.assert_allclose(count[others], expected, rtol=0.1)


@pytest.mark.parametrize("seconds_per_draw", [None, 1.0])
def test_same_speaker(seconds_per_draw):
  length = 8000 * np.array([10, 1, 1, 5, 3, 1])
  corpus = table([0, 1, 0, 2, 0, 2], length=length)
  rows = np.arange(600) % 6
  drawing = sampling.Rows(corpus, seed=0, seconds_per_draw=seconds_per_draw)
  drawn = drawing.same_speaker(np.arange(600), rows)
  np.testing.assert_array_equal(corpus.speaker[drawn], corpus.speaker[rows])
  # Another row, but where the speaker has one only.
  np.testing.assert_array_equal(drawn == rows, rows == 1)
  np.testing.assert_allclose(np.bincount(drawn) / 100, 1, atol=0.2)


def test_weighting_by_duration():
  # 4 utterances that fill 1, 1, 2 and 5 crops of a second.
  corpus = table(
    [0, 1, 0, 1],
    length=[4000, 16000, 16000, 40000],
    rate_hz=[8000, 16000, 8000, 8000],
  )
  drawing = sampling.Rows(corpus, seed=0, seconds_per_draw=1.0)
  assert drawing.epoch_size == 9
  index = np.arange(9 * 200)
  first = drawing.walk(index)
  np.testing.assert_array_equal(np.bincount(first), [200, 200, 400, 1000])
  second = drawing.another_speaker(index, first[:, None], 1)
  others = np.bincount(second[corpus.speaker[first] == 0])
  assert others[3] / others[1] == pytest.approx(5, rel=0.3)


def test_rooms():
  # Room 0 has three RIRs, room 1 one, room 2 two.
  rirs = table([0, 1, 0, 2, 0, 2])
  rows = sampling.Rooms(rirs, seed=0).draw(np.arange(600), 2)
  rooms = rirs.speaker[rows]
  np.testing.assert_array_equal(rooms[:, 0], rooms[:, 1])
  same = rows[:, 0] == rows[:, 1]
  np.testing.assert_array_equal(same, rooms[:, 0] == 1)
  assert set(rows.ravel()) == set(range(6))
  share = np.bincount(rooms[:, 0]) / 600
  np.testing.assert_allclose(share, [1 / 2, 1 / 6, 1 / 3], atol=0.06)


def test_groups_without_repeats():
  walk = sampling.shuffle_groups(np.arange(1000), size=7, seed=0, group=3)
  groups = np.sort(walk[:999].reshape(-1, 3), axis=1)
  assert (np.diff(groups, axis=1) > 0).all()
  # 6 of 7 an epoch, others in each.
  np.testing.assert_allclose(np.bincount(walk) / 1000, 1 / 7, atol=0.02)
  with pytest.raises(ValueError, match="group is 8"):
    sampling.shuffle_groups(np.arange(3), size=7, seed=0, group=8)


def test_empty_corpus():
  with pytest.raises(CorpusError, match="is empty"):
    sampling.Rows(table([]), seed=0)
