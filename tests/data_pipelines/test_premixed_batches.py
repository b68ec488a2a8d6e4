"""Batches of mixtures that were made before."""

import numpy as np
import pytest
from small_batches import assert_hosts_equal, assert_same, take

from data_pipelines import corpora
from data_pipelines.batches import batches
from data_pipelines.corpora import CorpusError
from data_pipelines.examples import PremixedCrops, PremixedWhole


def write_parts(write_audio, folder, parts, lengths):
  for seed, part in enumerate(parts.split()):
    for number, length in enumerate(lengths):
      path = f"{folder}/{part}/m{number}.wav"
      write_audio(path, num_samples=length, seed=10 * number + seed)


def test_premixed_training(tmp_path, write_audio):
  lengths = range(1000, 2800, 300)
  write_parts(write_audio, "2speakers/wav8k/min/tr", "mix s1 s2", lengths)
  corpus = corpora.scan_wsj0_mix(tmp_path)

  def first(count, **here):
    examples = PremixedCrops(
      corpus, crop_length=1500, sample_rate_hz=8000, seed=1
    )
    return take(batches(examples, batch_size=4, **here), count)

  taken = first(6)
  assert {k: (v.shape, v.dtype.name) for k, v in taken[0].items()} == {
    "index": ((4,), "uint32"),
    "mixture": ((4, 1500), "float32"),
    "reference": ((4, 2, 1500), "float32"),
    "length": ((4,), "int32"),
    "mask": ((4,), "bool"),
  }
  whole = [corpus.read(row) for row in range(6)]
  for batch in taken:
    for mixture, reference, length in zip(
      batch["mixture"], batch["reference"], batch["length"], strict=True
    ):
      parts = np.stack([mixture, *reference])
      assert np.all(parts[:, length:] == 0)
      # One file and one place for all parts.
      assert any(
        np.array_equal(parts[:, :length], w[:, start : start + length])
        for w in whole
        for start in range(w.shape[1] - length + 1)
      )
  for one, other in zip(taken[4:], first(2, start_step=4), strict=True):
    assert_same(one, other)
  assert_hosts_equal(lambda **here: first(1, **here), 2)
  (tmp_path / "2speakers/wav8k/min/tr/s2/m3.wav").write_bytes(b"")
  for one, other in zip(taken, first(6), strict=True):
    for i in range(4):
      # The longest crops are of m2 to m5; those of m3 are now of m4.
      same = np.array_equal(one["mixture"][i], other["mixture"][i])
      assert same == (not np.isin(one["mixture"][i, :900], whole[3]).all())


def test_premixed_evaluation(tmp_path, write_audio):
  lengths = [450, 1000, 1400, 1499, 2000, 2700, 2100]
  parts = "mix_both s1 s2 noise"
  write_parts(write_audio, "Libri2Mix/wav8k/min/dev", parts, lengths)
  corpus = corpora.scan_librimix(tmp_path, split="dev", mixture="mix_both")

  def whole(max_length=None, **here):
    examples = PremixedWhole(
      corpus, sample_rate_hz=8000, length_multiple=500, max_length=max_length
    )
    here |= {"num_examples": 7, "buckets": examples.buckets}
    return batches(examples, batch_size=2, **here)

  seen = {}
  for batch in whole():
    assert batch["noise"].shape == batch["mixture"].shape
    for i in np.flatnonzero(batch["mask"]):
      row = int(batch["index"][i])
      assert row not in seen
      length = seen[row] = int(batch["length"][i])
      assert batch["mixture"].shape[1] == length
      parts = [batch["mixture"][i], *batch["reference"][i], batch["noise"][i]]
      np.testing.assert_array_equal(
        np.stack(parts), corpus.read(row, 0, length)
      )
  expected = [450, 1000, 1000, 1000, 2000, 2500, 2000]
  assert [seen[row] for row in range(7)] == expected
  assert len(whole()) == 5
  cut = {batch["mixture"].shape[1] for batch in whole(max_length=1200)}
  assert cut == {450, 1000}
  assert_hosts_equal(lambda **here: list(whole(**here)), 2)
  with pytest.raises(CorpusError, match="holds no mixtures"):
    PremixedWhole(corpora.open_corpus("voices"), sample_rate_hz=8000)
