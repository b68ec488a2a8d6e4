"""Corpora whose mixtures are files."""

import numpy as np
import pytest
import soundfile
from small_batches import assert_hosts_equal, assert_same, take

from data_pipelines import corpora
from data_pipelines.batches import batches
from data_pipelines.corpora import CorpusError
from data_pipelines.examples import PremixedCrops, PremixedWhole


@pytest.fixture
def make_mixtures(write_audio):
  """Writes a folder of mixtures with the given parts, each its own noise."""

  def make(folder, parts, lengths=(2000, 2500, 3000), rate_hz=8000):
    for seed, part in enumerate(parts):
      for number, length in enumerate(lengths):
        path = f"{folder}/{part}/mix{number}.wav"
        write_audio(path, length, rate_hz, seed=10 * number + seed)

  return make


@pytest.mark.parametrize("num_sources", [2, 3])
def test_wsj0_mix(tmp_path, make_mixtures, num_sources):
  sources = [f"s{i + 1}" for i in range(num_sources)]
  folder = f"{num_sources}speakers/wav16k/max/tt"
  make_mixtures(folder, ["mix", *sources], rate_hz=16000)
  # Both the folder above and the folder of the mixtures may be given.
  for root in (tmp_path, tmp_path / f"{num_sources}speakers"):
    options = {"sample_rate_hz": 16000, "num_sources": num_sources}
    corpus = corpora.scan_wsj0_mix(root, split="tt", mode="max", **options)
    assert len(corpus) == 3
    assert corpus.num_sources == num_sources
    assert corpus.is_premixed and "noise" not in corpus.parts
    assert corpus["name"].tolist() == ["mix0.wav", "mix1.wav", "mix2.wav"]
    assert corpus.length.tolist() == [2000, 2500, 3000]
    assert set(corpus.rate_hz.tolist()) == {16000}
    parts = corpus.read(1, 100, 700)
    assert parts.shape == (1 + num_sources, 700)
    for part, name in zip(parts, ["mix", *sources], strict=True):
      whole, _ = soundfile.read(
        tmp_path / folder / name / "mix1.wav", dtype="float32"
      )
      np.testing.assert_array_equal(part, whole[100:800])


@pytest.mark.parametrize(
  ("mixture", "num_parts", "has_noise"),
  [("mix_clean", 3, False), ("mix_both", 4, True), ("mix_single", 3, True)],
)
def test_librimix(tmp_path, make_mixtures, mixture, num_parts, has_noise):
  make_mixtures(
    "Libri2Mix/wav8k/min/train-100",
    ["mix_both", "mix_clean", "mix_single", "noise", "s1", "s2"],
  )
  corpus = corpora.scan_librimix(tmp_path, split="train-100", mixture=mixture)
  assert ("noise" in corpus.parts) == has_noise
  assert corpus.num_sources == (1 if mixture == "mix_single" else 2)
  assert corpus.read(0).shape == (num_parts, 2000)
  same = corpora.open_corpus(
    f"librimix:{tmp_path}/Libri2Mix", split="train-100", mixture=mixture
  )
  np.testing.assert_array_equal(same.read(2), corpus.read(2))


def test_what_does_not_fit_is_left_out(tmp_path, make_mixtures, write_audio):
  folder = "2speakers/wav8k/min/tr"
  make_mixtures(folder, ["mix", "s1", "s2"], range(2000, 4500, 500))
  (tmp_path / folder / "s2/mix0.wav").unlink()
  (tmp_path / folder / "s1/mix1.wav").write_bytes(b"")
  write_audio(f"{folder}/mix/mix2.wav", num_samples=77)
  write_audio(f"{folder}/s1/mix3.wav", num_samples=3500, rate_hz=16000)
  corpus = corpora.scan_wsj0_mix(tmp_path, split="tr")
  assert corpus["name"].tolist() == ["mix4.wav"]
  problems = corpus.report.problems
  details = {p.path: p.detail for p in problems if p.kind == "unmatched"}
  assert details["mix/mix0.wav"] == "not in s2"
  assert details["s2/mix1.wav"] == "unusable in s1"
  assert "mix 77 at 8000 Hz" in details["s1/mix2.wav"]
  assert "s1 3500 at 16000 Hz" in details["mix/mix3.wav"]


def test_missing_folders(tmp_path, make_mixtures):
  make_mixtures("2speakers/wav8k/min/tr", ["mix", "s1"])
  with pytest.raises(CorpusError, match="has no folder s2; expected a"):
    corpora.scan_wsj0_mix(tmp_path, split="tr")
  with pytest.raises(CorpusError, match="min/cv: no such folder"):
    corpora.scan_wsj0_mix(tmp_path, split="cv")
  with pytest.raises(CorpusError, match="has no folder Libri2Mix"):
    corpora.scan_librimix(tmp_path, split="dev")
  with pytest.raises(CorpusError, match="has no column speaker"):
    make_mixtures("2speakers/wav8k/min/tr", ["s2"])
    corpora.open_corpus(f"wsj0_mix:{tmp_path}", split="tr", exclude=["x"])


def test_training(tmp_path, make_mixtures, caplog):
  lengths = range(1000, 2800, 300)
  make_mixtures("2speakers/wav8k/min/tr", ["mix", "s1", "s2"], lengths)
  corpus = corpora.scan_wsj0_mix(tmp_path)

  def first(count, **here):
    examples = PremixedCrops(
      corpus, crop_length=1500, sample_rate_hz=8000, seed=1
    )
    return take(batches(examples, batch_size=4, **here), count)

  taken = first(6)
  assert "2 of 6 mixtures are shorter than a crop" in caplog.text
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
  (tmp_path / "2speakers/wav8k/min/tr/s2/mix3.wav").write_bytes(b"")
  for one, other in zip(taken, first(6), strict=True):
    for i in range(4):
      # The longest crops are of m2 to m5; those of m3 are now of m4.
      same = np.array_equal(one["mixture"][i], other["mixture"][i])
      assert same == (not np.isin(one["mixture"][i, :900], whole[3]).all())


def test_evaluation(tmp_path, make_mixtures):
  lengths = [450, 1000, 1400, 1499, 2000, 2700, 2100]
  parts = "mix_both s1 s2 noise".split()
  make_mixtures("Libri2Mix/wav8k/min/dev", parts, lengths)
  corpus = corpora.scan_librimix(tmp_path, split="dev", mixture="mix_both")

  def whole(**here):
    examples = PremixedWhole(corpus, sample_rate_hz=8000, pad_s=0.125)
    here |= {"num_examples": 7, "buckets": examples.buckets}
    return batches(examples, batch_size=2, **here)

  seen = {}
  for batch in whole():
    assert batch["noise"].shape == batch["mixture"].shape
    for i in np.flatnonzero(batch["mask"]):
      row, length = int(batch["index"][i]), int(batch["length"][i])
      assert row not in seen
      seen[row] = batch["mixture"].shape[1]
      parts = [batch["mixture"][i], *batch["reference"][i], batch["noise"][i]]
      parts = np.stack(parts)
      np.testing.assert_array_equal(parts[:, :length], corpus.read(row))
      assert np.all(parts[:, length:] == 0)
  expected = [1000, 1000, 2000, 2000, 2000, 3000, 3000]
  assert [seen[row] for row in range(7)] == expected
  assert len(whole()) == 4
  assert_hosts_equal(lambda **here: list(whole(**here)), 2)
  with pytest.raises(CorpusError, match="holds no mixtures"):
    PremixedWhole(corpora.open_corpus("voices"), sample_rate_hz=8000)
  with pytest.raises(ValueError, match="pad_s is 0"):
    PremixedWhole(corpus, sample_rate_hz=8000, pad_s=0)
