"""Batches of a corpus of which some files cannot be read."""

import numpy as np
import pytest
from small_batches import assert_same, mixtures, reading

from data_pipelines import corpora
from data_pipelines.corpora import CorpusError


def break_files(corpus, rows):
  for row in rows:
    with open(corpus.full_path(row), "wb") as file:
      file.write(b"not what it was")


def test_broken_file_is_replaced_and_named(corpus, caplog):
  before = mixtures(corpus, 6)
  break_files(corpus, [0, 8])
  after = mixtures(corpus, 6)
  resumed = mixtures(corpus, 3, start_step=3)
  changed = 0
  for one, other in zip(before, after, strict=True):
    same = (one["sources"] == other["sources"]).all(-1)
    changed += (~same).sum()
    assert (other["speaker"][:, 0] != other["speaker"][:, 1]).all()
    assert (np.abs(other["sources"]).max(-1) > 0).all()
  # Of 48 crops about a sixth are of the two files; the others stay.
  assert 3 <= changed <= 16
  for one, other in zip(after[3:], resumed, strict=True):
    assert_same(one, other)
  named = [r.getMessage() for r in caplog.records if "its place" in r.message]
  assert any(corpus.path[0] in message for message in named)
  assert any(corpus.path[8] in message for message in named)


def test_broken_rir_is_replaced_by_one_of_its_room(
  corpus, tmp_path, write_audio, caplog
):
  for room, count in (("hall", 3), ("cell", 1), ("attic", 2)):
    for number in range(count):
      seed = 10 * count + number
      write_audio(f"rooms/{room}/{number}.wav", num_samples=90, seed=seed)
  rirs = corpora.scan_folder(tmp_path / "rooms")
  whole = [rirs.read(row) for row in range(len(rirs))]
  options = {"rirs": rirs, "rir_length": 90}

  def rows_of(taken):
    """The RIR of each source by the row that it was read from."""
    found = np.concatenate([batch["rir"] for batch in taken])
    same = (found[:, :, None] == np.stack(whole)).all(-1)
    assert (same.sum(-1) == 1).all()
    return same.argmax(-1)

  before = rows_of(mixtures(corpus, 12, **options))
  # The cell has no other; of the hall and the attic one each is left out.
  broken = [
    rirs.path.tolist().index(path)
    for path in ("hall/1.wav", "cell/0.wav", "attic/0.wav")
  ]
  break_files(rirs, broken)
  after = rows_of(mixtures(corpus, 12, **options))
  resumed = rows_of(mixtures(corpus, 3, **options, start_step=9))
  np.testing.assert_array_equal(after[-12:], resumed)
  spoilt = np.isin(before, broken)
  assert spoilt.any() and not np.isin(after, broken).any()
  np.testing.assert_array_equal(before[~spoilt], after[~spoilt])
  rooms = rirs.speaker[after]
  assert (rooms[:, 0] == rooms[:, 1]).all()
  # Two good ones of the three in the hall, and never one of them twice.
  hall = rirs.speakers.index("hall")
  in_the_hall = after[rirs.speaker[before[:, 0]] == hall]
  assert (in_the_hall[:, 0] != in_the_hall[:, 1]).all()
  named = " ".join(r.getMessage() for r in caplog.records)
  assert all(rirs.path[row] in named for row in broken)
  with pytest.raises(CorpusError, match="3 files could not be read"):
    mixtures(corpus, 12, **options, max_broken_files=2)


def test_too_many_broken_files_stop_the_run(corpus):
  break_files(corpus, [0, 4, 8])
  iterator = reading(corpus, max_broken_files=2)
  with pytest.raises(CorpusError, match="3 files could not be read") as caught:
    for _ in range(50):
      next(iterator)
  assert "\n" not in str(caught.value)
  # Asked again, it says the same instead of ending as if all was well.
  with pytest.raises(CorpusError, match="3 files could not be read"):
    next(iterator)


def test_evaluation_does_not_replace(corpus):
  break_files(corpus, [3])
  evaluation = reading(corpus, max_broken_files=0, num_examples=40)
  with pytest.raises(CorpusError, match=corpus.path[3]):
    list(evaluation)


def test_missing_corpus_is_told_at_once(corpus, librispeech):
  librispeech.rename(librispeech.parent / "moved")
  iterator = reading(corpus)
  with pytest.raises(CorpusError, match="9 files in a row"):
    next(iterator)
