"""Bad files of every kind, by name; and a scan that is remembered."""

import os
import re

import numpy as np
import pytest
import soundfile

from data_pipelines import corpora, scanning
from data_pipelines.corpora import CorpusError


def claim_length(path, num_samples):
  """Writes a number of samples into a FLAC header."""
  data = bytearray(path.read_bytes())
  # The last 36 bits before the checksum of STREAMINFO.
  data[21:26] = bytes([data[21] & 0xF0, *num_samples.to_bytes(4)])
  path.write_bytes(data)


@pytest.fixture
def bad_corpus(tmp_path, write_audio):
  """Three good files of two speakers, and one of each trouble."""
  root = tmp_path / "bad"
  write_audio("bad/ann/good.wav", seed=1)
  write_audio("bad/ann/other.wav", seed=2)
  write_audio("bad/bea/good.wav", seed=3)
  write_audio("bad/bea/odd_rate.wav", rate_hz=7919, seed=4)
  write_audio("bad/bea/flac_inside.wav", format="FLAC", seed=5)
  (root / "ann/zero_bytes.wav").write_bytes(b"")
  write_audio("bad/ann/no_samples.wav", num_samples=0)
  (root / "ann/text.wav").write_text("this is no audio at all")
  (root / "ann/folder.wav").mkdir()
  (root / "ann/folder.wav/inside.wav").write_bytes(b"never looked at")
  whole = write_audio("bad/ann/cut_off.flac", num_samples=40000)
  whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
  claim_length(write_audio("bad/ann/lying.flac", num_samples=8000), 2**16)
  claim_length(write_audio("bad/ann/unsure.flac", num_samples=8000), 0)
  claim_length(write_audio("bad/bea/short.flac", num_samples=8000), 4000)
  (root / "ann/dangling.wav").symlink_to(root / "nowhere.wav")
  (root / "ann/loop").symlink_to(root)
  return root


def test_every_kind_by_name(bad_corpus):
  corpus = corpora.scan_speaker_folders(bad_corpus)
  report = corpus.report
  assert {problem.path: problem.kind for problem in report.problems} == {
    "ann/cut_off.flac": "broken",
    "ann/dangling.wav": "broken",
    "ann/folder.wav": "folder",
    "ann/loop": "folder",
    "ann/lying.flac": "broken",
    "ann/no_samples.wav": "empty",
    "ann/text.wav": "broken",
    "ann/unsure.flac": "broken",
    "ann/zero_bytes.wav": "empty",
    "bea/odd_rate.wav": "odd rate",
  }
  good = "ann/good ann/other bea/flac_inside bea/good bea/odd_rate".split()
  assert corpus.path.tolist() == [f"{n}.wav" for n in good] + ["bea/short.flac"]
  # Whatever is left can be read to the end of its header's length.
  for row in range(len(corpus)):
    assert len(corpus.read(row)) == 4000
  summary = report.summary()
  assert "broken, left out: 5 of" in summary
  assert "ann/cut_off.flac (" in summary and "and 2 more" in summary
  assert "odd rate, kept: 1 of" in summary
  assert "7919 Hz, most files have 8000" in summary
  with open(report.written_to) as file:
    lines = file.read().splitlines()
  assert len(lines) == len(report.problems) == 10
  assert lines[0].startswith("ann/cut_off.flac\tbroken\t")


def test_nothing_usable(tmp_path):
  (tmp_path / "ann").mkdir()
  with pytest.raises(CorpusError, match="none of its 0 audio files"):
    corpora.scan_speaker_folders(tmp_path)
  (tmp_path / "ann/x.wav").write_bytes(b"")
  with pytest.raises(CorpusError, match=r"ann/x\.wav: no samples$"):
    corpora.scan_speaker_folders(tmp_path)


def test_misplaced_in_librispeech(librispeech, write_audio):
  write_audio("small/10/loose.flac")
  corpus = corpora.scan_librispeech(librispeech)
  assert len(corpus) == 12
  assert [(p.path, p.kind) for p in corpus.report.problems] == [
    ("10/loose.flac", "misplaced")
  ]


def probed(monkeypatch):
  """Names of the files that are opened from now on."""
  names = []
  probe = scanning.probe
  monkeypatch.setattr(
    scanning,
    "probe",
    lambda path: names.append(os.path.basename(path)) or probe(path),
  )
  return names


@pytest.mark.parametrize("elsewhere", [False, True])
def test_remembered(
  bad_corpus, cache_home, tmp_path, write_audio, monkeypatch, elsewhere
):
  cache_dir = tmp_path / "cache" if elsewhere else None
  before = sorted(os.listdir(bad_corpus))

  def scan():
    return corpora.scan_speaker_folders(bad_corpus, cache_dir=cache_dir)

  names = probed(monkeypatch)
  first = scan()
  assert len(names) == 12  # Not the folder, nor the link to nothing.
  # A corpus is not written into.
  assert sorted(os.listdir(bad_corpus)) == before
  folder = cache_dir or cache_home / "jaxsep"
  assert len(list(folder.glob("*/headers.json"))) == 1
  names.clear()
  again = scan()
  assert names == []
  assert again.path.tolist() == first.path.tolist()
  assert again.length.tolist() == first.length.tolist()
  assert again.report.problems == first.report.problems
  write_audio("bad/ann/good.wav", num_samples=5000)
  write_audio("bad/ann/new.wav", num_samples=600)
  (bad_corpus / "ann/other.wav").unlink()
  changed = scan()
  assert sorted(names) == ["good.wav", "new.wav"]
  assert changed.path.tolist()[:2] == ["ann/good.wav", "ann/new.wav"]
  assert changed.length.tolist()[:2] == [5000, 600]


def test_same_size_and_new_time_is_read_again(tmp_path, write_audio):
  path = write_audio("ann/x.wav", rate_hz=8000)
  corpora.scan_speaker_folders(tmp_path)
  before = path.stat()
  write_audio("ann/x.wav", rate_hz=8001)
  assert path.stat().st_size == before.st_size
  os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
  assert corpora.scan_speaker_folders(tmp_path).rate_hz.tolist() == [8001]


@pytest.mark.parametrize("damage", [b"", b"junk", None])
def test_damaged_table_is_ignored(librispeech, cache_home, damage):
  corpora.scan_librispeech(librispeech)
  (table,) = cache_home.glob("jaxsep/*/headers.json")
  data = table.read_bytes()
  table.write_bytes(data[: len(data) // 2] if damage is None else damage)
  assert len(corpora.scan_librispeech(librispeech)) == 12
  assert len(table.read_bytes()) > 100


def test_nowhere_to_remember(librispeech, tmp_path):
  (tmp_path / "file").write_text("")
  corpus = corpora.scan_librispeech(librispeech, cache_dir=tmp_path / "file")
  assert len(corpus) == 12


def test_names_outside_unicode(tmp_path, write_audio):
  name = os.fsdecode(b"ann/caf\xe9 \xf0\x9f\x8e\xb5.wav")
  write_audio("ann/plain.wav")
  try:
    os.rename(tmp_path / "ann/plain.wav", os.path.join(tmp_path, name))
  except OSError:
    pytest.skip("needs a file system that takes names that are not UTF-8")
  for _ in range(2):
    corpus = corpora.scan_speaker_folders(tmp_path)
    assert corpus.path.tolist() == [name]
    assert len(corpus.read(0)) == 4000


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_is_named_when_read(tmp_path, value):
  samples = np.zeros(1000, np.float32)
  samples[700] = value
  (tmp_path / "ann").mkdir()
  soundfile.write(tmp_path / "ann/x.wav", samples, 8000, subtype="FLOAT")
  corpus = corpora.scan_speaker_folders(tmp_path)
  np.testing.assert_array_equal(corpus.read(0, 0, 700), np.zeros(700))
  with pytest.raises(CorpusError, match=r"x\.wav: holds NaN or infinite"):
    corpus.read(0, 600, 200)


def test_file_cut_after_the_scan(corpus):
  path = corpus.full_path(0)
  os.truncate(path, os.path.getsize(path) // 2)
  with pytest.raises(CorpusError, match=re.escape(path)):
    corpus.read(0)
  os.remove(path)
  with pytest.raises(CorpusError, match="cannot be read"):
    corpus.read(0)
