"""Batches: the same on any host and after any break."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
import soundfile
import soxr

from data_pipelines import batches, corpora, table
from data_pipelines.corpora import CorpusError
from data_pipelines.stream import Stream

TRAIN = {
  "batch_size": 4,
  "num_sources": 2,
  "crop_length": 1500,
  "sample_rate_hz": 8000,
  "seed": 5,
  "num_threads": 2,
}


@pytest.fixture
def corpus(librispeech):
  return corpora.scan_librispeech(librispeech)


def take(iterator, count):
  """The first batches of an iterator, which is closed."""
  taken = [next(iterator) for _ in range(count)]
  iterator.close()
  return taken


def assert_same(one, other):
  assert one.keys() == other.keys()
  for name in one:
    assert one[name].dtype == other[name].dtype
    np.testing.assert_array_equal(one[name], other[name], err_msg=name)


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


def break_files(corpus, rows):
  for row in rows:
    with open(corpus.full_path(row), "wb") as file:
      file.write(b"not what it was")


def test_broken_file_is_replaced_and_named(corpus, caplog):
  before = take(batches.train_batches(corpus, **TRAIN), 6)
  break_files(corpus, [0, 8])
  after = take(batches.train_batches(corpus, **TRAIN), 6)
  resumed = take(batches.train_batches(corpus, **TRAIN, start_step=3), 3)
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


def test_broken_response_is_replaced_by_one_of_its_room(
  corpus, tmp_path, write_audio, caplog
):
  for room, count in (("hall", 3), ("cell", 1), ("attic", 2)):
    for number in range(count):
      seed = 10 * count + number
      write_audio(f"rooms/{room}/{number}.wav", num_samples=90, seed=seed)
  rirs = corpora.scan_folder(tmp_path / "rooms")
  whole = [rirs.read(row) for row in range(len(rirs))]
  options = TRAIN | {"rirs": rirs, "rir_length": 90}

  def rows_of(batches):
    """The response of each source by the row that it was read from."""
    found = np.concatenate([batch["rir"] for batch in batches])
    same = (found[:, :, None] == np.stack(whole)).all(-1)
    assert (same.sum(-1) == 1).all()
    return same.argmax(-1)

  before = rows_of(take(batches.train_batches(corpus, **options), 12))
  # The cell has no other; of the hall and the attic one each is left out.
  broken = [
    rirs.path.tolist().index(path)
    for path in ("hall/1.wav", "cell/0.wav", "attic/0.wav")
  ]
  break_files(rirs, broken)
  after = rows_of(take(batches.train_batches(corpus, **options), 12))
  resumed = rows_of(
    take(batches.train_batches(corpus, **options, start_step=9), 3)
  )
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
  strict = batches.train_batches(corpus, **options, max_broken_files=2)
  with pytest.raises(CorpusError, match="3 files could not be read"):
    take(strict, 12)


def test_too_many_broken_files_stop_the_run(corpus):
  break_files(corpus, [0, 4, 8])
  iterator = batches.train_batches(corpus, **TRAIN, max_broken_files=2)
  with pytest.raises(CorpusError, match="3 files could not be read") as caught:
    for _ in range(50):
      next(iterator)
  assert "\n" not in str(caught.value)
  # Asked again, it says the same instead of ending as if all was well.
  with pytest.raises(CorpusError, match="3 files could not be read"):
    next(iterator)


def test_evaluation_does_not_replace(corpus):
  break_files(corpus, [3])
  evaluation = batches.eval_batches(corpus, **TRAIN, num_examples=40)
  with pytest.raises(CorpusError, match=corpus.path[3]):
    list(evaluation)


def test_missing_corpus_is_told_at_once(corpus, librispeech):
  librispeech.rename(librispeech.parent / "moved")
  iterator = batches.train_batches(corpus, **TRAIN)
  with pytest.raises(CorpusError, match="10 files in a row"):
    next(iterator)


def test_premixed_training(tmp_path, write_audio):
  for part, seed in (("mix", 0), ("s1", 1), ("s2", 2)):
    for number in range(6):
      write_audio(
        f"2speakers/wav8k/min/tr/{part}/m{number}.wav",
        num_samples=1000 + 300 * number,
        seed=10 * number + seed,
      )
  corpus = corpora.scan_wsj0_mix(tmp_path, "tr")
  options = {
    "batch_size": 4,
    "crop_length": 1500,
    "sample_rate_hz": 8000,
    "seed": 1,
  }
  taken = take(batches.premixed_train_batches(corpus, **options), 6)
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
  resumed = take(
    batches.premixed_train_batches(corpus, **options, start_step=4), 2
  )
  for one, other in zip(taken[4:], resumed, strict=True):
    assert_same(one, other)
  hosts = [
    take(
      batches.premixed_train_batches(
        corpus, **options, process_index=p, process_count=2
      ),
      1,
    )[0]
    for p in range(2)
  ]
  assert_same(
    {k: np.concatenate([h[k] for h in hosts]) for k in hosts[0]}, taken[0]
  )
  (tmp_path / "2speakers/wav8k/min/tr/s2/m3.wav").write_bytes(b"")
  assert len(take(batches.premixed_train_batches(corpus, **options), 4)) == 4


def test_premixed_evaluation(tmp_path, write_audio):
  lengths = [450, 1000, 1400, 1499, 2000, 2700, 2100]
  for part, seed in (("mix_both", 0), ("s1", 1), ("s2", 2), ("noise", 3)):
    for number, length in enumerate(lengths):
      write_audio(
        f"Libri2Mix/wav8k/min/dev/{part}/m{number}.wav",
        num_samples=length,
        seed=10 * number + seed,
      )
  corpus = corpora.scan_librimix(tmp_path, "dev", mixture="mix_both")
  options = {
    "batch_size": 2,
    "sample_rate_hz": 8000,
    "length_multiple": 500,
  }
  evaluation = batches.premixed_eval_batches(corpus, **options)
  seen = {}
  for batch in evaluation:
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
  assert [seen[row] for row in range(7)] == [
    450,
    1000,
    1000,
    1000,
    2000,
    2500,
    2000,
  ]
  assert len(evaluation) == 5
  cut = batches.premixed_eval_batches(corpus, **options, max_length=1200)
  assert {batch["mixture"].shape[1] for batch in cut} == {450, 1000}
  whole = list(evaluation)
  hosts = [
    list(
      batches.premixed_eval_batches(
        corpus, **options, process_index=p, process_count=2
      )
    )
    for p in range(2)
  ]
  for step, expected in enumerate(whole):
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


def test_stream_ends_and_starts_anew():
  stream = Stream(
    lambda step: {"x": np.full(step, step)}, first=2, stop=6, num_threads=3
  )
  for _ in range(2):
    assert [len(batch["x"]) for batch in stream] == [2, 3, 4, 5]
  iterator = iter(stream)
  next(iterator)
  iterator.close()
  assert list(iterator) == []


def test_stream_raises_the_error_itself_at_its_step():
  class OddError(Exception):
    pass

  def read(step):
    if step == 3:
      raise OddError("step 3")
    return {"x": np.array(step)}

  iterator = iter(Stream(read, first=0, stop=None, num_threads=4))
  assert [int(next(iterator)["x"]) for _ in range(3)] == [0, 1, 2]
  for _ in range(2):
    with pytest.raises(OddError, match="step 3"):
      next(iterator)


def test_closed_from_another_thread():
  def read(step):
    time.sleep(0.2)
    return {"x": np.array(step)}

  iterator = iter(Stream(read, first=0, stop=None, num_threads=1))
  threading.Timer(0.05, iterator.close).start()
  assert list(iterator) == []


def test_dropped_iterators_stop_reading():
  reads = []

  def read(step):
    reads.append(step)
    time.sleep(0.01)
    return {"x": np.array(step)}

  for _ in range(5):
    next(iter(Stream(read, first=0, stop=None, num_threads=2)))
  time.sleep(0.3)
  count = len(reads)
  time.sleep(0.3)
  assert len(reads) == count


@pytest.mark.parametrize("end", ["exit", "interrupt"])
def test_process_ends_while_reading(end):
  """However a program stops, threads that read do not keep it alive."""
  code = f"""
    import sys, time
    import numpy as np
    from data_pipelines.stream import Stream

    def read(step):
      time.sleep(0.02)
      return {{"x": np.zeros((100, 1000))}}

    iterator = iter(Stream(read, first=0, stop=None, num_threads=4))
    for step in range(100_000):
      next(iterator)
      if step == 5:
        print("ready", flush=True)
        if {end!r} == "exit":
          sys.exit(0)
  """
  root = pathlib.Path(__file__).parents[2]
  process = subprocess.Popen(
    [sys.executable, "-c", textwrap.dedent(code)],
    env=os.environ | {"PYTHONPATH": str(root)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == "ready\n"
  if end == "interrupt":
    process.send_signal(signal.SIGINT)
  _, errors = process.communicate(timeout=60)
  assert ("KeyboardInterrupt" in errors) == (end == "interrupt")
  assert (
    process.returncode
    == {
      "exit": 0,
      "error": 1,
      "interrupt": -signal.SIGINT,
    }[end]
  )


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
