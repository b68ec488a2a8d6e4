"""Batches: the same on any host and after any break."""

import numpy as np
import pytest
import soundfile
import soxr
from small_batches import TRAIN, assert_same, take

from data_pipelines import batches, corpora, table


def test_contract(corpus):
  batch = take(
    batches.train_batches(
      corpus, **TRAIN, noise=corpus, rirs=corpus, rir_length=700
    ),
    1,
  )[0]
  assert {k: (v.shape, v.dtype.name) for k, v in batch.items()} == {
    "index": ((4,), "uint32"),
    "sources": ((4, 2, 1500), "float32"),
    "length": ((4, 2), "int32"),
    "speaker": ((4, 2), "int32"),
    "mask": ((4,), "bool"),
    "noise": ((4, 1500), "float32"),
    "rir": ((4, 2, 700), "float32"),
  }
  assert batch["index"].tolist() == [0, 1, 2, 3]
  assert batch["mask"].all()
  assert (batch["speaker"][:, 0] != batch["speaker"][:, 1]).all()
  # Noise and responses are found in the corpus, from the beginning on.
  starts = [corpus.read(row, 0, 700) for row in range(len(corpus))]
  for response in batch["rir"].reshape(-1, 700):
    assert any(np.array_equal(response, start) for start in starts)


def test_crops_come_from_the_speakers_utterances(corpus):
  whole = [corpus.read(row) for row in range(len(corpus))]
  for batch in take(batches.train_batches(corpus, **TRAIN), 3):
    for crops, speakers in zip(batch["sources"], batch["speaker"], strict=True):
      for crop, speaker in zip(crops, speakers, strict=True):
        rows = np.flatnonzero(corpus.speaker == speaker)
        found = [
          np.correlate(whole[row], crop, "valid").max() / (crop @ crop)
          for row in rows
        ]
        assert max(found) == pytest.approx(1, abs=1e-4)


def test_short_utterances_are_padded_at_the_end(corpus):
  options = TRAIN | {"crop_length": 4000}
  for batch in take(batches.train_batches(corpus, **options), 3):
    for crop, length in zip(
      batch["sources"].reshape(-1, 4000), batch["length"].ravel(), strict=True
    ):
      assert length in {*range(3000, 4000, 200), 4000}
      assert np.all(crop[length:] == 0)
      assert np.all(np.abs(crop[[0, length - 1]]) > 0)


def test_resampled_with_speed(corpus):
  options = TRAIN | {"sample_rate_hz": 5000, "crop_length": 900}
  batch = take(
    batches.train_batches(corpus, **options, speed_range=(1.25, 1.25)), 1
  )[0]
  row_of = {int(s): np.flatnonzero(corpus.speaker == s) for s in range(4)}
  for crop, speaker in zip(
    batch["sources"].reshape(-1, 900), batch["speaker"].ravel(), strict=True
  ):
    best = 0
    for row in row_of[int(speaker)]:
      whole = soxr.resample(corpus.read(row), 10000, 5000)
      inner = np.correlate(whole, crop, "valid").max() / (crop @ crop)
      best = max(best, inner)
    # A crop may begin half an output sample off the grid of the whole.
    assert best > 0.6


@pytest.mark.parametrize("process_count", [2, 4])
def test_hosts_together_equal_one(corpus, process_count):
  options = TRAIN | {"batch_size": 8}
  alone = take(batches.train_batches(corpus, **options), 3)
  parts = [
    take(
      batches.train_batches(
        corpus,
        **options,
        process_index=process_index,
        process_count=process_count,
      ),
      3,
    )
    for process_index in range(process_count)
  ]
  for step, expected in enumerate(alone):
    hosts = [part[step] for part in parts]
    seen = [set(host["index"].tolist()) for host in hosts]
    assert len(set.union(*seen)) == sum(map(len, seen)) == 8
    joined = {k: np.concatenate([h[k] for h in hosts]) for k in expected}
    assert_same(joined, expected)


def test_resumed_equals_unbroken(corpus):
  options = TRAIN | {"speed_range": (0.9, 1.1), "sample_rate_hz": 6000}
  unbroken = take(batches.train_batches(corpus, **options), 8)
  resumed = take(batches.train_batches(corpus, **options, start_step=5), 3)
  for one, other in zip(unbroken[5:], resumed, strict=True):
    assert_same(one, other)


def test_the_number_of_threads_changes_nothing(corpus):
  few = take(batches.train_batches(corpus, **TRAIN), 6)
  many = take(batches.train_batches(corpus, **TRAIN | {"num_threads": 7}), 6)
  for one, other in zip(few, many, strict=True):
    assert_same(one, other)


def test_an_epoch_visits_every_utterance(corpus):
  options = TRAIN | {"num_sources": 1, "batch_size": 6, "crop_length": 9000}
  taken = take(batches.train_batches(corpus, **options), 2)
  lengths = np.concatenate([batch["length"] for batch in taken]).ravel()
  assert sorted(lengths) == sorted(corpus.length)


def test_index_beyond_32_bits(corpus):
  batch = take(batches.train_batches(corpus, **TRAIN, start_step=2**31), 1)[0]
  assert batch["index"].tolist() == [0, 1, 2, 3]


def test_short_noise_is_repeated(tmp_path, write_audio, corpus):
  write_audio("noise/short.wav", num_samples=400, seed=9)
  noise = corpora.scan_folder(tmp_path / "noise")
  batch = take(batches.train_batches(corpus, **TRAIN, noise=noise), 1)[0]
  for crop in batch["noise"]:
    np.testing.assert_array_equal(crop[400:], crop[:-400])
    assert sorted(crop[:400]) == sorted(noise.read(0))


def test_response_keeps_its_gain(tmp_path, corpus):
  (tmp_path / "rooms").mkdir()
  time_s = np.arange(4800) / 48000
  response = np.exp(-time_s / 0.01) / 480
  soundfile.write(tmp_path / "rooms/x.wav", response, 48000, subtype="FLOAT")
  rirs = corpora.scan_folder(tmp_path / "rooms", channel=0)
  batch = take(
    batches.train_batches(corpus, **TRAIN, rirs=rirs, rir_length=900), 1
  )[0]
  np.testing.assert_allclose(batch["rir"].sum(-1), response.sum(), rtol=0.03)
  assert np.all(batch["rir"][..., 800:] == 0)


def test_eval_batches(corpus):
  options = TRAIN | {"batch_size": 4}
  evaluation = batches.eval_batches(corpus, **options, num_examples=10)
  assert len(evaluation) == 3
  first, again = list(evaluation), list(evaluation)
  assert [batch["mask"].tolist() for batch in first] == [
    [True] * 4,
    [True] * 4,
    [True, True, False, False],
  ]
  for one, other in zip(first, again, strict=True):
    assert_same(one, other)
  # What fills up is sound: no silence for a metric to trip over.
  np.testing.assert_array_equal(
    first[2]["sources"][2:], first[0]["sources"][:2]
  )
  hosts = [
    list(
      batches.eval_batches(
        corpus,
        **options,
        num_examples=10,
        process_index=p,
        process_count=2,
      )
    )
    for p in range(2)
  ]
  for step, expected in enumerate(first):
    joined = {
      k: np.concatenate([host[step][k] for host in hosts]) for k in expected
    }
    assert_same(joined, expected)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"batch_size": 5, "process_count": 2}, "multiple of the 2 hosts"),
    ({"process_index": 2, "process_count": 2}, "process_index is 2"),
    ({"crop_length": 0}, "crop_length is 0"),
    ({"weighting": "speaker"}, "'utterance' or 'duration'"),
    ({"rir_length": 5}, "rirs and rir_length"),
    ({"start_step": -1}, "start_step is -1"),
    ({"num_sources": 5}, "has 4 speakers, too few for mixtures of 5"),
  ],
)
def test_bad_options(corpus, options, message):
  with pytest.raises(ValueError, match=message):
    batches.train_batches(corpus, **TRAIN | options)


def test_in_memory_corpus():
  """Anything with a reader is a corpus; no file is needed."""

  def read(path, start, length):
    return np.arange(start, start + length, dtype=np.float32) + int(path)

  corpus = table.Corpus(
    path=["0", "100000"],
    start=[0, 7],
    length=[2000, 2000],
    rate_hz=[8000, 8000],
    speaker=[0, 1],
    text=["", ""],
    speakers=("x", "y"),
    reader=read,
  )
  batch = take(batches.train_batches(corpus, **TRAIN), 1)[0]
  for crop, speaker in zip(
    batch["sources"].reshape(8, -1), batch["speaker"].ravel(), strict=True
  ):
    start = crop[0] - (100007 if speaker else 0)
    assert 0 <= start <= 500
    np.testing.assert_array_equal(np.diff(crop), 1)
