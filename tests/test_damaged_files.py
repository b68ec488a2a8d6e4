"""Damaged files end in a result or in one line, wherever they are read."""

import ctypes
import pathlib
import threading

import damaged_files
import numpy as np
import pytest

from data_pipelines import corpora
from data_pipelines.corpora import CorpusError
from jaxsep import audio

ROOT = pathlib.Path(__file__).parents[1]
# At the last three soundfile loses count of the samples of a damaged MP3.
SEEDS = [*range(240), 713, 1478, 1748]


def test_each_reader_gives_a_result_or_one_line(tmp_path):
  examiner = damaged_files.Examiner(tmp_path)
  found = {seed: examiner.examine(seed) for seed in SEEDS}
  results = [result for found in found.values() for result in found.values()]
  assert set(results) <= {"read", "refused"}, {
    seed: readers
    for seed, readers in found.items()
    if set(readers.values()) - {"read", "refused"}
  }
  # Both are common, so the damage is neither too light nor too heavy.
  assert 0.25 < results.count("refused") / len(results) < 0.75


@pytest.fixture
def mp3(tmp_path):
  """A file that libmpg123 has something to say about."""
  path = tmp_path / "x.mp3"
  content = bytearray(damaged_files.sound(path.name))
  content[1000:2500] = bytes(1500)
  path.write_bytes(content)
  return path


def test_corpus_of_damaged_files(tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  for seed in range(90):
    name, content = damaged_files.damaged(seed)
    path = tmp_path / f"corpus/{seed}-{name}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
  with damaged_files.c_output() as written:
    corpus = corpora.scan_folder(tmp_path / "corpus")
    num_read = 0
    for row in range(len(corpus)):
      try:
        assert np.isfinite(corpus.read(row)).all()
        num_read += 1
      except CorpusError as error:
        assert "\n" not in str(error)
  # The report is a log in Python; it names each file that was left out.
  assert 20 < num_read <= len(corpus) < 80
  lines = [line for line in written().splitlines() if "mpg123" in line]
  assert not lines and "Note" not in written()


def test_other_words_on_the_screen_stay(mp3, capfd):
  """C's own error stream is back after reading in several threads."""

  def read():
    for _ in range(20):
      with pytest.raises(audio.AudioError):
        audio.read(mp3)

  threads = [threading.Thread(target=read) for _ in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert capfd.readouterr().err == ""
  ctypes.CDLL(None).perror(b"a line of C")
  assert capfd.readouterr().err.startswith("a line of C")


def test_both_packages_keep_notes_off_the_screen_alike():
  ours, theirs = (
    (ROOT / folder / "_quiet.py").read_text()
    for folder in ("jaxsep/audio", "data_pipelines")
  )
  assert ours.replace("data_pipelines", "jaxsep/audio") == theirs


def test_tool_sees_crashes_and_endless_loops(tmp_path, monkeypatch):
  script = tmp_path / "child.py"
  monkeypatch.setattr(damaged_files, "__file__", str(script))
  start = "import os, sys, time; print('{}', flush=True); "
  script.write_text(start + "os.abort()")
  assert [dict(damaged_files.examine_slice(range(3)))[s] for s in range(3)] == [
    {},
    {"process": "process ended with -6"},
    {},
  ]
  monkeypatch.setattr(damaged_files, "SLICE_S", 1)
  script.write_text(start + "time.sleep(60)")
  found = dict(damaged_files.examine_slice(range(2)))
  assert found == {0: {}, 1: {"process": "takes too long"}}
