"""Corpora by layout: what is found, and what of it is read."""

import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from data_pipelines import corpora, files
from data_pipelines.corpora import CorpusError


def test_librispeech(corpus):
  assert len(corpus) == 12
  assert corpus.speakers == ("10", "11", "12", "13")
  assert corpus.speaker.tolist() == [s for s in range(4) for _ in range(3)]
  assert corpus.path[4] == "11/101/11-101-0001.flac"
  assert corpus["text"][4] == "WORDS 1 1"
  assert corpus.length.tolist() == [3000 + 200 * i for i in range(12)]
  assert set(corpus.rate_hz.tolist()) == {8000}
  assert corpus.seconds == pytest.approx(corpus.length.sum() / 8000)
  assert corpus.report.problems == ()


def test_only_the_crop_is_read(corpus, monkeypatch):
  asked = []
  read = soundfile.SoundFile.read

  def spy(self, frames=-1, **kwargs):
    asked.append(frames)
    return read(self, frames, **kwargs)

  whole, _ = soundfile.read(corpus.full_path(7), dtype="float32")
  np.testing.assert_array_equal(corpus.read(7), whole)
  monkeypatch.setattr(soundfile.SoundFile, "read", spy)
  crop = corpus.read(7, 1000, 250)
  assert asked == [250] and crop.dtype == np.float32
  np.testing.assert_array_equal(crop, whole[1000:1250])
  for start, length in ((-1, 5), (0, 4401), (4399, 2), (5, -1)):
    with pytest.raises(ValueError, match="wanted of 4400"):
      corpus.read(7, start, length)


def test_root_of_several_subsets(librispeech, tmp_path, write_audio):
  write_audio("other/10/900/10-900-0000.flac")
  corpus = corpora.scan_librispeech(tmp_path)
  assert len(corpus) == 13
  assert corpus.speakers == ("10", "11", "12", "13")
  assert corpus.path[0] == "other/10/900/10-900-0000.flac"
  one = corpora.scan_librispeech(tmp_path, split="other")
  assert one.speakers == ("10",)
  both = corpora.scan_librispeech(tmp_path, split="other+small")
  assert both.path.tolist() == corpus.path.tolist()
  assert both["text"].tolist() == corpus["text"].tolist()
  np.testing.assert_array_equal(both.read(5), corpus.read(5))
  with pytest.raises(CorpusError, match="has no subset none"):
    corpora.scan_librispeech(tmp_path, split="none")


def test_speaker_folders(tmp_path, write_audio):
  write_audio("bea/one.wav", seed=1)
  write_audio("bea/deep/two.flac", seed=2)
  write_audio("ann/three.aiff", seed=3, format="AIFF")
  write_audio("stray.wav")
  (tmp_path / "ann/notes.txt").write_text("no audio")
  corpus = corpora.scan_speaker_folders(tmp_path)
  paths = ["ann/three.aiff", "bea/deep/two.flac", "bea/one.wav"]
  assert corpus.path.tolist() == paths
  assert corpus.speakers == ("ann", "bea")
  assert [p.path for p in corpus.report.problems] == ["stray.wav"]


def test_speaker_folders_with_texts(tmp_path, write_audio):
  for name in ("ann/7_ann_0", "bob/x/7_bob_0", "bob/8_bob_1"):
    write_audio(f"{name}.wav")
  lines = "7_ann_0\tSEVEN\r\n8_bob_1\tEIGHT\n9_bob_9\tNINE\nno tab\n"
  (tmp_path / "transcripts.tsv").write_text(lines, newline="")
  corpus = corpora.open_corpus(f"speaker_folders:{tmp_path}")
  assert corpus["text"].tolist() == ["SEVEN", "EIGHT", ""]
  assert corpus["speaker"].tolist() == ["ann", "bob", "bob"]


def test_channels(tmp_path, write_audio):
  path = write_audio("hall/a.wav", channels=3)
  write_audio("b.wav", channels=3)
  corpus = corpora.scan_folder(tmp_path, channel=1)
  assert corpus.speakers == ("", "hall")
  samples, _ = soundfile.read(path, dtype="float32")
  np.testing.assert_array_equal(corpus.read(1), samples[:, 1])
  with pytest.raises(CorpusError, match=r"b\.wav: has 3 channels"):
    corpora.scan_folder(tmp_path, channel=3).read(0)
  averaged = corpora.scan_speaker_folders(tmp_path).read(0, 100, 50)
  np.testing.assert_allclose(averaged, samples[100:150].mean(1), atol=1e-7)


def test_subset(corpus, tmp_path):
  names = tmp_path / "names.txt"
  names.write_text("# held out\n12\n\n10\n")
  kept = corpus.subset(speakers=names)
  assert kept.speakers == ("10", "12")
  assert kept.speaker.tolist() == [0, 0, 0, 1, 1, 1]
  rest = corpus.subset(exclude=str(names))
  assert rest.speakers == ("11", "13")
  assert {*kept.path, *rest.path} == {*corpus.path}
  np.testing.assert_array_equal(rest.read(3), corpus.read(9))
  assert corpus.subset(["10", "11"], exclude=["10", "77"]).speakers == ("11",)
  for wrong, message in (
    ({"speakers": ["10", "77"]}, "has no speaker 77"),
    ({"exclude": ["77"]}, "has no speaker 77 to exclude"),
    ({"speakers": ["10"], "exclude": ["10"]}, "is left"),
    ({"speakers": tmp_path / "no.txt"}, r"no\.txt: cannot be read"),
  ):
    with pytest.raises(CorpusError, match=message):
      corpus.subset(**wrong)
  names.write_text("\n")
  with pytest.raises(CorpusError, match="names nothing"):
    files.read_names(names)


def test_concatenate(corpus, librispeech, tmp_path):
  shutil.copytree(librispeech, tmp_path / "copy/small")
  second = corpora.scan_librispeech(tmp_path / "copy/small")
  both = corpora.concatenate([corpus.subset(["11"]), second])
  assert len(both) == 15
  assert both.speakers == ("10", "11", "12", "13")
  assert both.speaker.tolist()[:6] == [1, 1, 1, 0, 0, 0]
  np.testing.assert_array_equal(both.read(4), second.read(1))
  paths = [corpus.full_path(row) for row in range(len(corpus))]
  without = dataclasses.replace(corpus, path=paths, root="")
  for parts in ([corpus, without], [without, corpus]):
    both = corpora.concatenate(parts)
    for row in (0, 12):
      np.testing.assert_array_equal(both.read(row), corpus.read(0))
  parts = [corpora.scan_folder(corpus.root, channel=c) for c in (None, 0)]
  assert len(corpora.concatenate([parts[1], parts[1]])) == 24
  with pytest.raises(ValueError, match="of one reader"):
    corpora.concatenate(parts)


def test_open_corpus(librispeech, tmp_path):
  corpus = corpora.open_corpus(
    f"librispeech:{librispeech}", exclude=["10"], cache_dir=tmp_path / "cache"
  )
  assert corpus.speakers == ("11", "12", "13")
  assert len(corpora.open_corpus(f"folder:{librispeech}")) == 12
  for spec, message in (
    ("librispeach:x", "names no corpus; expected layout:where"),
    ("librispeech", "expected librispeech:where"),
    (f"librispeech:{tmp_path}/none", "none: no such folder; expected a"),
    (f"folder:{__file__}", "test_corpora.py: is a file; expected a folder"),
    ("voices:x", "expected voices alone"),
  ):
    with pytest.raises(CorpusError, match=message):
      corpora.open_corpus(spec)
  for options in ({"split": "train"}, {"num_speakers": 3}):
    with pytest.raises(CorpusError, match="has no such option; it has channel"):
      corpora.open_corpus(f"folder:{librispeech}", **options)


def test_every_layout_opens_with_defaults(librispeech, tmp_path, write_audio):
  for folder in ("2speakers/wav8k/min/tr", "Libri2Mix/wav8k/min/train-100"):
    for part in ("mix", "mix_clean", "s1", "s2"):
      write_audio(f"{folder}/{part}/m.wav")
  (tmp_path / "list.csv").write_text("path\nsmall/10/100/10-100-0000.flac\n")
  for spec, rows in (
    ("voices", 400),
    (f"librispeech:{librispeech}", 12),
    (f"speaker_folders:{librispeech}", 12),
    (f"folder:{librispeech}", 12),
    (f"manifest:{tmp_path}/list.csv", 1),
    (f"wsj0_mix:{tmp_path}", 1),
    (f"librimix:{tmp_path}", 1),
  ):
    corpus = corpora.open_corpus(
      spec, cache_dir=tmp_path / "cache", sample_rate_hz=8000, num_sources=2
    )
    assert len(corpus) == rows
    assert corpus.is_premixed == ("mix:" in spec)
    splits = corpora.splits_of(spec)
    assert (splits is None) != (spec == "voices" or corpus.is_premixed)


def test_librispeech_is_split_by_the_names_of_its_subsets(
  librispeech, tmp_path
):
  root = tmp_path / "whole"
  spec = f"librispeech:{root}"
  for subset, splits in (
    ("developers", None),
    ("test-other", ("train", None, "test")),
    ("train-clean-100", ("train", None, "test")),
    ("dev-clean", ("train", "dev", "test")),
  ):
    shutil.copytree(librispeech, root / subset)
    assert corpora.splits_of(spec) == splits
    if subset == "test-other":
      with pytest.raises(CorpusError, match="subset train, only developers"):
        corpora.open_corpus(spec, split="train")
  train = corpora.open_corpus(spec, split="train")
  assert train.root == str(root / "train-clean-100")


def test_parts_for_validation():
  voices = corpora.open_corpus("voices", num_speakers=25)
  train, valid = corpora.hold_out(voices, column="speaker", at_least=2)
  assert valid.speakers == voices.speakers[::10]
  assert len(train) + len(valid) == len(voices)
  assert corpora.shared_speakers(train, valid) == ()
  assert corpora.shared_speakers(voices, valid) == valid.speakers
  for size, at_least, num_held in ((9, 2, 2), (5, 2, 2), (4, 2, 2), (3, 1, 1)):
    few = voices.subset(voices.speakers[:size])
    _, valid = corpora.hold_out(few, at_least=at_least)
    assert len(valid.speakers) == num_held
  # A folder of noises has one "speaker": its recordings are parted.
  noise = dataclasses.replace(voices, columns={})
  train, valid = corpora.hold_out(noise)
  assert not set(train.path) & set(valid.path) and len(valid) == 25
  with pytest.raises(CorpusError, match="has 1 different path"):
    corpora.hold_out(noise.rows([3]))
  with pytest.raises(CorpusError, match="has no column speaker"):
    noise.subset(exclude=["x"])


def test_columns():
  place = {"path": ["a", "b"], "start": [0, 0], "rate_hz": [8000, 8000]}
  with pytest.raises(ValueError, match=r"column length has shape \(1,\)"):
    corpora.Corpus(**place, length=[5])
  with pytest.raises(ValueError, match=r"column singer has shape \(1,\)"):
    corpora.Corpus(**place, length=[5, 5], columns={"singer": ["x"]})
  columns = {"singer": ["y", "x"], "age": [3, 4], "speaker": ["t", "t"]}
  corpus = corpora.Corpus(**place, length=[5, 6], columns=columns)
  assert corpus.codes("singer")[0].tolist() == [1, 0]
  last = corpus.rows([1])
  assert last["singer"].tolist() == ["x"] and last["age"].tolist() == [4]
  with pytest.raises(CorpusError, match="has no column text; it has path"):
    corpus["text"]
  two = corpora.concatenate(
    [corpus, dataclasses.replace(last, columns={"age": [7]})]
  )
  assert list(two.columns) == ["age"] and two["age"].tolist() == [3, 4, 7]


def test_scanning_needs_no_tensorflow():
  code = "import sys; from data_pipelines import corpora;"
  code += "sys.exit('tensorflow' in sys.modules or 'jax' in sys.modules)"
  root = pathlib.Path(__file__).parents[2]
  environment = os.environ | {"PYTHONPATH": str(root)}
  subprocess.run([sys.executable, "-c", code], check=True, env=environment)
