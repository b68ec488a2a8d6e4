"""Corpora whose mixtures are files."""

import numpy as np
import pytest
import soundfile

from data_pipelines import corpora
from data_pipelines.corpora import CorpusError


@pytest.fixture
def make_mixtures(write_audio):
  """Writes a folder of mixtures with the given parts, each its own noise."""

  def make(folder, parts, num_mixtures=3, rate_hz=8000):
    for number in range(num_mixtures):
      for seed, part in enumerate(parts):
        write_audio(
          f"{folder}/{part}/mix{number}.wav",
          num_samples=2000 + 500 * number,
          rate_hz=rate_hz,
          seed=10 * number + seed,
        )

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
  make_mixtures(folder, ["mix", "s1", "s2"], num_mixtures=5)
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
  with pytest.raises(CorpusError, match="has no folder s2; it needs mix"):
    corpora.scan_wsj0_mix(tmp_path, split="tr")
  with pytest.raises(CorpusError, match="min/cv: no such folder"):
    corpora.scan_wsj0_mix(tmp_path, split="cv")
  with pytest.raises(CorpusError, match="has no folder Libri2Mix"):
    corpora.scan_librimix(tmp_path, split="dev")
  with pytest.raises(CorpusError, match="has no column speaker"):
    make_mixtures("2speakers/wav8k/min/tr", ["s2"])
    corpora.open_corpus(f"wsj0_mix:{tmp_path}", split="tr", exclude=["x"])
