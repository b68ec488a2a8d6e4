"""Kinds of examples to come, as toys made from the shared draws."""

import dataclasses

import numpy as np
import pytest
from small_batches import assert_hosts_equal, assert_same, take

from data_pipelines import sampling
from data_pipelines.batches import batches
from data_pipelines.corpora import Corpus
from data_pipelines.crops import Tolerance, read_row, resampled_length
from data_pipelines.files import CorpusError

RATE_HZ = 8000
NUM_SPEAKERS, PER_SPEAKER = 7, 4
# The first sample of each row is its number, so that rows are known again.


def read(path, start, length):
  if path in BROKEN:
    raise CorpusError(f"{path}: broken")
  return np.arange(start, start + length, dtype=np.float32) / 1e6 + int(path)


BROKEN = set()


@pytest.fixture(autouse=True)
def nothing_is_broken():
  BROKEN.clear()


@pytest.fixture
def corpus():
  size = NUM_SPEAKERS * PER_SPEAKER
  return Corpus(
    path=[str(row) for row in range(size)],
    start=np.zeros(size),
    length=1000 + 70 * np.arange(size),
    rate_hz=np.full(size, RATE_HZ),
    columns={
      "speaker": [f"s{row // PER_SPEAKER}" for row in range(size)],
      "text": ["ab" * (1 + row % 3) for row in range(size)],
    },
    reader=read,
  )


def crop_of(corpus, row, length, share):
  """A crop at the rate that the row has."""
  options = {"sample_rate_hz": int(corpus.rate_hz[row]), "length": length}
  return read_row(corpus, int(row), share=float(share), **options)


class Utterances:
  """Whole utterances with features at 200 Hz and their text."""

  def __init__(self, corpus, *, seed, speed_range):
    self.seed, self._corpus = seed, corpus
    # At most a token each 250 samples.
    self.padded = {"signal": 1, "features": 200 / RATE_HZ, "text": 1 / 250}
    self._rows = sampling.Rows(corpus, seed=seed)
    self.epoch_size = self._rows.epoch_size
    slowest_hz = RATE_HZ * speed_range[0]
    self._longest = np.array(
      [resampled_length(int(n), slowest_hz, RATE_HZ) for n in corpus.length]
    )
    self._draw = sampling.Blocks(
      lambda index: {
        "row": self._rows.walk(index),
        "speed": sampling.speed(seed, index, 0, speed_range),
      }
    )

  def max_length(self, index):
    return self._longest[self._rows.walk(index)]

  def read(self, index):
    drawn = self._draw(index)
    row, speed = int(drawn["row"]), float(drawn["speed"])
    signal = read_row(self._corpus, row, sample_rate_hz=RATE_HZ, speed=speed)
    tokens = np.array([ord(c) for c in self._corpus["text"][row]], np.int32)
    return {
      "signal": signal,
      "signal_length": np.int32(len(signal)),
      "features": np.full((3, -(-len(signal) // 40)), 1 + row),
      "text": tokens,
      "text_length": np.int32(len(tokens)),
      "row": row,
    }


def utterance_batches(corpus, count, start_step=0, **here):
  examples = Utterances(corpus, seed=3, speed_range=(0.9, 1.1))
  here |= {"start_step": start_step, "buckets": (1500, 2500, 4000)}
  return take(batches(examples, batch_size=4, **here), count)


def test_utterances_with_text_in_buckets(corpus):
  # Tabled at the slowest speed: 6, 12 and 10 utterances in the buckets.
  taken = utterance_batches(corpus, 24)
  shapes = {
    tuple(batch[name].shape for name in ("signal", "features", "text"))
    for batch in taken
  }
  assert shapes == {
    ((4, 1500), (4, 3, 38), (4, 6)),
    ((4, 2500), (4, 3, 63), (4, 10)),
    ((4, 4000), (4, 3, 100), (4, 16)),
  }
  for epoch in range(3):
    part = taken[8 * epoch : 8 * epoch + 8]
    rows = np.concatenate([batch["row"] for batch in part])
    # Every utterance, and the rest of each bucket topped up.
    assert set(rows.tolist()) == set(range(28)) and len(rows) == 32
  order = [batch["signal"].shape[1] for batch in taken]
  assert sorted(order[:8]) == sorted(order[8:16]) and order[:8] != order[8:16]
  for batch in taken:
    assert batch["mask"].all()
    for signal, length, row in zip(
      batch["signal"], batch["signal_length"], batch["row"], strict=True
    ):
      assert np.all(signal[length:] == 0)
      assert corpus.length[row] / 1.11 < length < corpus.length[row] / 0.89
    num_frames = (batch["features"] == 1 + batch["row"][:, None, None]).sum(2)
    expected = -(-batch["signal_length"] // 40)
    np.testing.assert_array_equal(num_frames, expected[:, None].repeat(3, 1))
    texts = ["".join(map(chr, t[t > 0])) for t in batch["text"]]
    assert texts == corpus["text"][batch["row"]].tolist()
  for step in (5, 13):
    resumed = utterance_batches(corpus, 4, step)
    for one, other in zip(taken[step:], resumed, strict=False):
      assert_same(one, other)
  assert_hosts_equal(lambda **here: utterance_batches(corpus, 12, **here), 2)


def test_buckets_that_do_not_fit(corpus):
  examples = Utterances(corpus, seed=3, speed_range=(0.9, 1.1))
  with pytest.raises(ValueError, match="fits in none of the buckets"):
    batches(examples, batch_size=4, buckets=(1500, 2500))
  # One more example of the longer bucket in the first epoch only.
  examples.max_length = lambda index: np.where(
    (index < 28) & (index > 4), 3999, 4000
  )
  with pytest.raises(ValueError, match="same lengths in each epoch"):
    take(batches(examples, batch_size=4, buckets=(3999, 4000)), 20)
  # Equal to a bucket, it fits in; 4200 / 600 are 7, also in binary.
  examples.max_length = lambda index: np.full(len(index), 4200)
  examples.padded["text"] = 40 / 24000
  (batch,) = take(batches(examples, batch_size=4, buckets=(4200, 9000)), 1)
  assert batch["signal"].shape == (4, 4200) and batch["text"].shape == (4, 7)
  examples.max_length = lambda index: np.full(len(index), 1200)
  with pytest.raises(ValueError, match="more than max_length promised"):
    take(batches(examples, batch_size=4, buckets=(1200,)), 20)


class TwoClips:
  """Two clips of a speaker; the speakers of a batch are distinct."""

  def __init__(self, corpus, *, seed, batch_size, crop_length):
    self._corpus, self._crop_length = corpus, crop_length
    self._tolerance = Tolerance(10)
    rows, size = sampling.Rows(corpus, seed=seed), len(corpus.speakers)

    def draw(index):
      speaker = sampling.shuffle_groups(
        index, size=size, seed=seed, group=batch_size
      )
      return {
        "speaker": speaker,
        "row": rows.of_speaker(index, speaker, 2),
        "share": sampling.crop_share(seed, index[:, None], np.arange(2)),
      }

    self._draw = sampling.Blocks(draw)

  def read(self, index):
    drawn = self._draw(index)
    used, clips = drawn["row"].tolist(), []
    for clip in range(2):
      rows = (
        row
        for row in sampling.following(used[clip], len(self._corpus))
        if self._corpus.speaker[row] == drawn["speaker"]
        and row != used[1 - clip]
      )
      share = float(drawn["share"][clip])
      used[clip], crop = self._tolerance.first_readable(
        self._corpus,
        rows,
        lambda row, share=share: crop_of(
          self._corpus, row, self._crop_length, share
        ),
      )
      clips.append(crop)
    return {"clips": np.stack(clips), "speaker": drawn["speaker"]}


@pytest.mark.parametrize("broken", [set(), {"2", "9", "20"}])
def test_two_clips_of_distinct_speakers(corpus, broken):
  BROKEN.update(broken)

  def first(**here):
    examples = TwoClips(corpus, seed=0, batch_size=4, crop_length=600)
    return take(batches(examples, batch_size=4, **here), 30)

  for batch in first():
    assert len(set(batch["speaker"].tolist())) == 4
    rows = batch["clips"][:, :, 0].astype(int)
    assert (corpus.speaker[rows] == batch["speaker"][:, None]).all()
    assert (rows[:, 0] != rows[:, 1]).all()
    assert not broken & set(rows.ravel().astype(str))
  assert_hosts_equal(first, 2)


class Frames:
  """Crops of cached features, `[K, T]`, at their own frame rate."""

  def __init__(self, table, *, seed, num_frames):
    self._table, self._num_frames = table, num_frames
    rows = sampling.Rows(table, seed=seed)
    self._draw = sampling.Blocks(
      lambda index: {
        "row": rows.walk(index),
        "share": sampling.crop_share(seed, index),
      }
    )

  def read(self, index):
    drawn = self._draw(index)
    row = int(drawn["row"])
    frames = crop_of(self._table, row, self._num_frames, drawn["share"])
    return {"features": frames, "singer": self._table.speaker[row]}


def test_a_feature_table_at_200_hz(tmp_path):
  for row in range(3):
    features = np.random.default_rng(row).standard_normal((5, 400 + row))
    np.save(tmp_path / f"{row}.npy", features.astype(np.float32))

  def read_features(path, start, length):
    return np.load(path, mmap_mode="r")[:, start : start + length]

  table = Corpus(
    path=[f"{row}.npy" for row in range(3)],
    start=np.zeros(3),
    length=[400, 401, 402],
    rate_hz=[200] * 3,
    columns={"speaker": ["x", "y", "x"], "song": ["a", "b", "c"]},
    root=str(tmp_path),
    reader=read_features,
    parts=("f0", "energy", "mcep1", "mcep2", "mcep3"),
  )
  assert table.seconds == pytest.approx(6.015)
  assert not table.is_premixed and table.num_sources == 0
  examples = Frames(table, seed=0, num_frames=50)
  batch = take(batches(examples, batch_size=3), 1)[0]
  assert batch["features"].shape == (3, 5, 50)
  whole = [table.read(row) for row in range(3)]
  for features, singer in zip(batch["features"], batch["singer"], strict=True):
    assert any(
      np.array_equal(features, whole[row][:, start : start + 50])
      for row in np.flatnonzero(table.speaker == singer)
      for start in range(353)
    )
  assert dataclasses.replace(table, columns={}).speakers == ("",)
