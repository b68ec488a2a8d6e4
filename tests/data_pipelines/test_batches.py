"""Batches: the same on any host and after any break."""

import numpy as np
import pytest
import soundfile
import soxr
from small_batches import assert_hosts_equal, assert_same, mixtures, reading

from data_pipelines import corpora


def test_contract(corpus):
  batch = mixtures(corpus, 1, noise=corpus, rirs=corpus, rir_length=700)[0]
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
  # Noises and RIRs are found in the corpus, from the beginning on.
  starts = [corpus.read(row, 0, 700) for row in range(len(corpus))]
  for rir in batch["rir"].reshape(-1, 700):
    assert any(np.array_equal(rir, start) for start in starts)


def test_crops_come_from_the_speakers_utterances(corpus):
  whole = [corpus.read(row) for row in range(len(corpus))]
  for batch in mixtures(corpus, 3):
    for crops, speakers in zip(batch["sources"], batch["speaker"], strict=True):
      for crop, speaker in zip(crops, speakers, strict=True):
        rows = np.flatnonzero(corpus.speaker == speaker)
        found = [np.correlate(whole[row], crop, "valid").max() for row in rows]
        assert max(found) / (crop @ crop) == pytest.approx(1, abs=1e-4)


def test_short_utterances_are_padded_at_the_end(corpus):
  for batch in mixtures(corpus, 3, crop_length=4000):
    for crop, length in zip(
      batch["sources"].reshape(-1, 4000), batch["length"].ravel(), strict=True
    ):
      assert length in {*range(3000, 4000, 200), 4000}
      assert np.all(crop[length:] == 0)
      assert np.all(np.abs(crop[[0, length - 1]]) > 0)


def test_resampled_with_speed(corpus):
  options = {"sample_rate_hz": 5000, "crop_length": 900}
  batch = mixtures(corpus, 1, **options, speed_range=(1.25, 1.25))[0]
  for crop, speaker in zip(
    batch["sources"].reshape(-1, 900), batch["speaker"].ravel(), strict=True
  ):
    best = 0
    for row in np.flatnonzero(corpus.speaker == speaker):
      whole = soxr.resample(corpus.read(row), 10000, 5000)
      inner = np.correlate(whole, crop, "valid").max() / (crop @ crop)
      best = max(best, inner)
    # A crop may begin half an output sample off the grid of the whole.
    assert best > 0.6


def test_hosts_together_equal_one(corpus):
  assert_hosts_equal(
    lambda **here: mixtures(corpus, 3, batch_size=8, **here), 4
  )


def test_resumed_equals_unbroken(corpus):
  options = {"speed_range": (0.9, 1.1), "sample_rate_hz": 6000}
  unbroken = mixtures(corpus, 8, **options, num_threads=7)
  resumed = mixtures(corpus, 3, **options, start_step=5)
  for one, other in zip(unbroken[5:], resumed, strict=True):
    assert_same(one, other)
  # Steps and indices may pass 32 bits.
  batch = mixtures(corpus, 1, start_step=2**31)[0]
  assert batch["index"].tolist() == [0, 1, 2, 3]


def test_an_epoch_visits_every_utterance(corpus):
  taken = mixtures(corpus, 2, num_sources=1, batch_size=6, crop_length=9000)
  lengths = np.concatenate([batch["length"] for batch in taken]).ravel()
  assert sorted(lengths) == sorted(corpus.length)


def test_short_noise_is_repeated(tmp_path, write_audio, corpus):
  write_audio("noise/short.wav", num_samples=400, seed=9)
  noise = corpora.scan_folder(tmp_path / "noise")
  batch = mixtures(corpus, 1, noise=noise)[0]
  for crop in batch["noise"]:
    np.testing.assert_array_equal(crop[400:], crop[:-400])
    assert sorted(crop[:400]) == sorted(noise.read(0))
  # It begins anywhere.
  assert len(np.unique(batch["noise"][:, 0])) == 4


def test_rir_keeps_its_gain(tmp_path, corpus):
  (tmp_path / "rooms").mkdir()
  time_s = np.arange(4800) / 48000
  rir = np.exp(-time_s / 0.01) / 480
  soundfile.write(tmp_path / "rooms/x.wav", rir, 48000, subtype="FLOAT")
  rirs = corpora.scan_folder(tmp_path / "rooms")
  batch = mixtures(corpus, 1, rirs=rirs, rir_length=900)[0]
  np.testing.assert_allclose(batch["rir"].sum(-1), rir.sum(), rtol=0.03)
  assert np.all(batch["rir"][..., 800:] == 0)


@pytest.mark.parametrize(("channel", "peak"), [(None, 0.9), (1, -0.9)])
def test_first_channel_of_a_rir_unless_chosen(tmp_path, corpus, channel, peak):
  """Averaged, two microphones of opposite sign would be silent."""
  (tmp_path / "rooms").mkdir()
  rir = np.zeros((100, 2))
  rir[0] = 0.9, -0.9
  soundfile.write(tmp_path / "rooms/x.wav", rir, 8000, subtype="FLOAT")
  rirs = corpora.scan_folder(tmp_path / "rooms", channel=channel)
  batch = mixtures(corpus, 1, rirs=rirs, rir_length=100)[0]
  np.testing.assert_allclose(batch["rir"][..., 0], peak)


def test_a_fixed_set(corpus):
  evaluation = reading(corpus, num_examples=10)
  assert len(evaluation) == 3
  first, again = list(evaluation), list(evaluation)
  mask = np.concatenate([batch["mask"] for batch in first])
  assert mask.tolist() == [True] * 10 + [False] * 2
  for one, other in zip(first, again, strict=True):
    assert_same(one, other)
  # What fills up is sound: no silence for a metric to trip over.
  sources = [batch["sources"] for batch in first]
  np.testing.assert_array_equal(sources[2][2:], sources[0][:2])
  assert_hosts_equal(
    lambda **here: list(reading(corpus, num_examples=10, **here)), 2
  )


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"batch_size": 5, "process_count": 2}, "number of hosts, 2"),
    ({"batch_size": 0}, "batch_size is 0, expected at least 1"),
    ({"num_threads": 0}, "num_threads is 0"),
    ({"process_index": 2, "process_count": 2}, "process_index is 2"),
    ({"crop_length": 0}, "crop_length is 0"),
    ({"weighting": "speaker"}, "'utterance' or 'duration'"),
    ({"rir_length": 5}, "rirs and rir_length"),
    ({"start_step": -1}, "start_step is -1"),
    ({"num_examples": 0}, "num_examples is 0"),
    ({"num_sources": 0}, "num_sources is 0"),
    ({"num_sources": 5}, "has 4 speakers, too few for mixtures of 5"),
    ({"speed_range": (1.1, 0.9)}, "0 < slowest <= fastest"),
    ({"speed_range": (0.0, 1.0)}, "0 < slowest <= fastest"),
  ],
)
def test_bad_options(corpus, options, message):
  with pytest.raises(ValueError, match=message):
    reading(corpus, **options)
