"""Utterances with text, mixtures of them, and text alone."""

import gzip
from typing import Any

import numpy as np
import pytest
from small_batches import assert_hosts_equal, assert_same, take

from data_pipelines.batches import batches
from data_pipelines.corpora import Corpus
from data_pipelines.examples import TextLines, UtteranceMixtures, Utterances
from data_pipelines.examples.text_lines import read_lines
from data_pipelines.files import CorpusError

RATE_HZ = 8000
NUM_ROWS, PER_SPEAKER = 28, 4
SPEEDS = (0.8, 1.0, 1.25)
BROKEN = set()


def read(path, start, length):
  """A constant, so that rows are known again at any speed."""
  if path in BROKEN:
    raise CorpusError(f"{path}: broken")
  return np.full(length, 1 + int(path), np.float32)


def tokenize(text):
  return [1 + ord(letter) for letter in text]


@pytest.fixture(autouse=True)
def nothing_is_broken():
  BROKEN.clear()


@pytest.fixture
def corpus():
  """7 speakers with 4 utterances each, of 125 to 361 ms."""
  rows = np.arange(NUM_ROWS)
  return Corpus(
    path=[str(row) for row in rows],
    start=np.zeros(NUM_ROWS),
    length=1000 + 70 * rows,
    rate_hz=np.full(NUM_ROWS, RATE_HZ),
    columns={
      "speaker": [f"s{row // PER_SPEAKER}" for row in rows],
      "text": [f"{row:x}" * (1 + row % 3) for row in rows],
    },
    reader=read,
  )


def with_text(corpus, change):
  """The corpus with the texts of some rows changed."""
  text = corpus["text"].copy()
  for row, value in change.items():
    text[row] = value
  columns = {**corpus.columns, "text": text}
  return Corpus(
    corpus.path,
    corpus.start,
    corpus.length,
    corpus.rate_hz,
    columns,
    reader=read,
  )


def utterances(corpus, **further: Any):
  options: dict[str, Any] = {
    "sample_rate_hz": RATE_HZ,
    "seed": 3,
    "num_buckets": 4,
  }
  return Utterances(corpus, tokenize=tokenize, **options | further)


def mixtures(corpus, **further: Any):
  options: dict[str, Any] = {
    "sample_rate_hz": RATE_HZ,
    "seed": 3,
    "num_buckets": 3,
  }
  return UtteranceMixtures(
    corpus, num_sources=2, tokenize=tokenize, **options | further
  )


def some(examples, count, **further):
  options = {"batch_size": 4, "buckets": examples.buckets}
  return take(batches(examples, **options | further), count)


def row_of(signal, length):
  """Which row a signal is, after a look that only its padding is silent."""
  assert np.all(signal[length:] == 0) and np.all(signal[:length] > 0.5)
  return round(float(signal[length // 2])) - 1


def text_of(tokens, length):
  assert np.all(tokens[length:] == 0)
  return "".join(chr(token - 1) for token in tokens[:length])


def test_batches_of_utterances(corpus):
  examples = utterances(corpus)
  batch = some(examples, 1)[0]
  shapes = {name: (v.shape[0], v.dtype.name) for name, v in batch.items()}
  assert shapes == {
    "index": (4, "uint32"),
    "mask": (4, "bool"),
    "signal": (4, "float32"),
    "signal_length": (4, "int32"),
    "tokens": (4, "int32"),
    "tokens_length": (4, "int32"),
    "speaker": (4, "int32"),
  }
  assert batch["signal"].shape[1] in examples.buckets


def test_an_epoch_has_every_utterance_at_every_speed(corpus):
  examples = utterances(corpus, speeds=SPEEDS)
  assert examples.epoch_size == 3 * NUM_ROWS
  seen, shapes = set(), set()
  stream = batches(
    examples,
    batch_size=4,
    buckets=examples.buckets,
    num_examples=examples.epoch_size,
  )
  for batch in stream:
    shapes.add((batch["signal"].shape, batch["tokens"].shape))
    for i in np.flatnonzero(batch["mask"]):
      length = int(batch["signal_length"][i])
      row = row_of(batch["signal"][i], length)
      text = text_of(batch["tokens"][i], batch["tokens_length"][i])
      assert text == corpus["text"][row]
      assert batch["speaker"][i] == corpus.speaker[row]
      speed = corpus.length[row] / length
      nearest = min(SPEEDS, key=lambda s: abs(s - speed))
      assert speed == pytest.approx(nearest, rel=0.002)
      seen.add((row, nearest))
  assert len(seen) == 3 * NUM_ROWS and len(shapes) <= 4


def test_resumed_and_on_several_hosts(corpus):
  examples = utterances(corpus, speeds=SPEEDS)
  unbroken = some(examples, 30)
  for one, other in zip(
    unbroken[25:], some(examples, 5, start_step=25), strict=True
  ):
    assert_same(one, other)
  assert_hosts_equal(lambda **here: some(examples, 6, **here), 2)


def test_what_has_no_text_or_is_too_long_is_left_out(corpus, caplog):
  few = with_text(corpus, {0: "", 1: " ", 27: ""})
  # 0.32 s at the slowest speed are 2048 samples: rows 0 to 14.
  examples = utterances(few, speeds=(0.8, 1.0), longest_s=0.32)
  assert examples.epoch_size == 2 * (15 - 2)
  warning = "of 28 utterances, 3 without text and 12 longer than 0.32 s"
  assert caplog.text.count("are left out") == 1 and warning in caplog.text
  with pytest.raises(CorpusError, match=r"28 longer than 0\.1 s: none"):
    utterances(corpus, longest_s=0.1)
  with pytest.raises(ValueError, match="speeds are"):
    utterances(corpus, speeds=(0.0, 1.0))


def test_an_utterance_with_many_tokens_goes_to_a_longer_bucket(corpus):
  wordy = utterances(with_text(corpus, {0: "a" * 40}))
  usual = utterances(corpus)
  shortest = [e.max_length(np.arange(NUM_ROWS)).min() for e in (wordy, usual)]
  assert shortest == [1070, 1000]
  assert wordy.padded["tokens"] < 40 / 1000
  for batch in some(wordy, 30):
    for tokens, length in zip(
      batch["tokens"], batch["tokens_length"], strict=True
    ):
      text_of(tokens, length)


@pytest.mark.parametrize("make", [utterances, mixtures])
def test_a_broken_file_is_replaced_within_its_bucket(corpus, make):
  BROKEN.update({"0", "9", "27"})
  signal = "signal" if make is utterances else "sources"
  for batch in some(make(corpus), 20):
    rows = np.unique(batch[signal]).astype(int) - 1
    assert not {0, 9, 27} & set(rows.tolist())
  with pytest.raises(CorpusError, match="broken"):
    some(make(corpus, max_broken_files=0), 20)


@pytest.mark.parametrize("room", [1.0, 2.5])
def test_mixtures_of_whole_utterances(corpus, room):
  examples = mixtures(corpus, speeds=SPEEDS, room=room)
  assert examples.epoch_size == 3 * NUM_ROWS
  shapes, firsts, pairs = set(), set(), set()
  for batch in some(examples, 45):
    num_samples = batch["sources"].shape[-1]
    shapes.add((num_samples, batch["tokens"].shape))
    assert batch["sources"].shape == (4, 2, num_samples)
    assert (room * batch["length"] <= num_samples + 1).all()
    assert (batch["speaker"][:, 0] != batch["speaker"][:, 1]).all()
    for i, s in np.ndindex(4, 2):
      row = row_of(batch["sources"][i, s], batch["length"][i, s])
      text = text_of(batch["tokens"][i, s], batch["tokens_length"][i, s])
      assert text == corpus["text"][row]
      assert batch["speaker"][i, s] == corpus.speaker[row]
      # Whole: cut by no crop.
      speed = corpus.length[row] / batch["length"][i, s]
      assert min(abs(speed - known) for known in SPEEDS) < 0.002
      firsts |= {row} if s == 0 else set()
    pairs |= {tuple(pair) for pair in batch["speaker"].tolist()}
  assert firsts == set(range(NUM_ROWS)) and len(shapes) == 3
  assert len(pairs) > 20


def test_noises_and_rooms_fill_the_bucket(corpus):
  rirs = Corpus(
    path=["100", "101", "102", "103"],
    start=np.zeros(4),
    length=np.full(4, 50),
    rate_hz=np.full(4, RATE_HZ),
    columns={"speaker": ["x", "x", "x", "y"]},
    reader=read,
  )
  examples = mixtures(
    corpus, noise=corpus, rirs=rirs, rir_length=60, noise_rir=True, room=2
  )
  for batch in some(examples, 8):
    assert batch["noise"].shape == batch["sources"][:, 0].shape
    assert np.all(batch["noise"] > 0.5)
    assert batch["rir"].shape == (4, 2, 60)
    assert batch["noise_rir"].shape == (4, 60)
    for rir, of_noise in zip(batch["rir"], batch["noise_rir"], strict=True):
      rooms = {*rir[:, 0].tolist(), float(of_noise[0])}
      assert rooms in ({101.0, 102.0, 103.0}, {104.0})
  with pytest.raises(ValueError, match="noise_rir needs"):
    mixtures(corpus, noise_rir=True)
  with pytest.raises(ValueError, match=r"room is 0\.5"):
    mixtures(corpus, room=0.5)


def test_short_buckets_have_enough_speakers(corpus):
  # Only the last speaker says anything short.
  only = with_text(corpus, {row: "" for row in range(24)})
  with pytest.raises(CorpusError, match="too few speakers"):
    mixtures(only)
  one_more = mixtures(with_text(corpus, {row: "" for row in range(1, 24)}))
  for batch in some(one_more, 10):
    assert (batch["speaker"][:, 0] != batch["speaker"][:, 1]).all()


def test_mixtures_on_several_hosts_and_resumed(corpus):
  examples = mixtures(corpus, speeds=SPEEDS)
  assert_hosts_equal(lambda **here: some(examples, 6, **here), 2)
  unbroken = some(examples, 60)
  resumed = some(mixtures(corpus, speeds=SPEEDS), 10, start_step=50)
  for one, other in zip(unbroken[50:], resumed, strict=True):
    assert_same(one, other)


def test_lines_of_text(tmp_path, caplog):
  path = tmp_path / "lines.txt.gz"
  texts = ["ab " * (1 + n % 5) + str(n) for n in range(23)]
  content = "\ufeff" + "\n".join([*texts[:9], "", "x" * 99, *texts[9:]]) + "\n"
  path.write_bytes(gzip.compress(content.encode()))
  examples = TextLines(
    read_lines(path), tokenize=tokenize, seed=1, num_buckets=3, most_tokens=50
  )
  assert "1 are empty and 1 too long" in caplog.text
  assert len(examples.buckets) == 3 and examples.epoch_size == 23
  orders = []
  for start in (0, 23):
    read_back = [
      examples.read(index)["tokens"] for index in range(start, start + 23)
    ]
    orders.append([text_of(tokens, len(tokens)) for tokens in read_back])
  assert sorted(orders[0]) == sorted(orders[1]) == sorted(texts)
  assert orders[0] != orders[1]
  for batch in some(examples, 10):
    assert batch.keys() == {"index", "mask", "tokens", "tokens_length"}
    assert batch["tokens"].shape[1] in examples.buckets


def test_lines_that_cannot_be_read(tmp_path):
  path = tmp_path / "lines.txt"
  path.write_bytes(b"good\nb\xe4d\n")
  for bad in (path, tmp_path / "none.txt"):
    with pytest.raises(CorpusError, match=r"\.txt: cannot be read"):
      list(read_lines(bad))
  for texts in ([], ["", " "]):
    with pytest.raises(CorpusError, match=r"no line|none is left"):
      TextLines(texts, tokenize=tokenize, seed=0)
