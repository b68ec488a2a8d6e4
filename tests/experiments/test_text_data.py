"""Data with text of configs: what is in it, and what is refused."""

import gzip
from typing import Any

import numpy as np
import pytest
from small_corpora import TINY_MODEL

from experiments import job, options
from experiments.text_data import TextDataConfig, open_text_data
from jaxsep import simulate


class Letters:
  """A tokenizer of the letters in some texts."""

  def __init__(self, texts):
    self.letters = sorted(set("".join(texts)))
    self.size = 3 + len(self.letters)

  def encode(self, text):
    return [3 + self.letters.index(x) for x in text if x in self.letters]


def config_of(**data):
  small = {
    "num_voices": 4,
    "num_valid_voices": 3,
    "num_utterances": 2,
    "num_valid_examples": 5,
    "batch_size": 4,
    "num_threads": 1,
    "utterance_s": 1.5,
    "num_buckets": 2,
  }
  # Other sizes are of no use where there are no voices.
  if "corpus" in data:
    del small["utterance_s"]
  return job.make_config(
    sample_rate_hz=8000,
    model=options.options(TINY_MODEL),
    data=options.options(TextDataConfig(**small | data)),
  )


def opened(config, say=lambda line: None):
  return open_text_data(
    config, make_tokenizer=lambda config, texts: Letters(texts), say=say
  )


def decoded(data, tokens):
  return "".join(data.tokenizer.letters[t - 3] for t in tokens if t)


def test_utterances_of_voices():
  said = []
  data = opened(config_of(speeds=(0.9, 1.0)), said.append)
  assert data.train.epoch_size == 16 and data.valid.epoch_size == 6
  assert "8 utterances of 4 speakers" in said[0]
  assert said[2].startswith("training: 16 utterances, padded to ")
  batch = next(data.train_batches(0, process_index=0, process_count=1))
  assert batch["signal"].shape[0] == 4
  held = list(data.eval_batches())
  assert sum(batch["mask"].sum() for batch in held) == 5
  words = {w for t in held[0]["tokens"] for w in decoded(data, t).split()}
  assert len(words) > 3 and data.tokenizer.size > 10
  resumed = next(data.train_batches(3))
  stream = data.train_batches(0)
  for _ in range(4):
    batch = next(stream)
  np.testing.assert_array_equal(batch["signal"], resumed["signal"])


def test_description_tells_texts_and_tokenizers_apart():
  def described(seed=0, make: Any = Letters, **data):
    return open_text_data(
      config_of(seed=seed, **data),
      make_tokenizer=lambda config, texts: make(texts),
      say=lambda line: None,
    ).describe()

  first = described()
  assert first == described() and first["examples"] == "utterances"
  assert first["layout"] == "voices" and "8 rows" in first["train"]
  others = [
    described(seed=1),
    described(make=lambda texts: Letters("ETAOINSHRDLU etaoinshrdlu")),
  ]
  assert len({one["tokens"] for one in [first, *others]}) == 3


def test_mixtures_with_noise_and_rooms(folders, librispeech):
  noise, rirs = folders
  config = config_of(examples="mixtures", noise=noise, rirs=rirs, rir_s=0.1)
  config.data.update(noise_rir=True, room=2.0)
  with pytest.raises(ValueError, match="none of it is added"):
    opened(config)
  with config.unlocked():
    simulation = simulate.Simulation(8000, noise_snr_db=(0, 15))
    config.simulation = options.options(simulation)
  data = opened(config)
  batch = next(data.train_batches(0))
  size = batch["sources"].shape[-1]
  assert batch["sources"].shape == (4, 2, size)
  assert batch["tokens"].shape[:2] == (4, 2)
  assert batch["noise"].shape == (4, size)
  assert batch["rir"].shape == (4, 2, 800)
  assert batch["noise_rir"].shape == (4, 800)
  # Validation has others.
  assert "noise" in data.describe() and "rirs" in data.describe()
  held = next(iter(data.eval_batches()))
  assert {"noise", "rir", "noise_rir"} < held.keys()


def test_lines_of_a_corpus_and_of_files(tmp_path):
  data = opened(config_of(examples="lines"))
  batch = next(data.train_batches(0))
  assert batch.keys() == {"index", "mask", "tokens", "tokens_length"}
  lines = [f"{'one two three '[: 3 + n % 9]}{n}" for n in range(250)]
  path = tmp_path / "lm.txt.gz"
  path.write_bytes(gzip.compress("\n".join(lines).encode()))
  data = opened(config_of(examples="lines", corpus=f"text:{path}"))
  # Lines 0, 100 and 200 are for validation.
  assert data.train.epoch_size == 247 and data.valid.epoch_size == 3
  kept = {decoded(data, t) for b in data.eval_batches() for t in b["tokens"]}
  assert kept == {lines[n] for n in (0, 100, 200)}
  both = {"corpus": f"text:{path}", "valid_corpus": f"text:{path}"}
  data = opened(config_of(examples="lines", **both))
  assert data.train.epoch_size == data.valid.epoch_size == 250


@pytest.mark.parametrize(
  ("data", "message"),
  [
    ({"examples": "lines", "speeds": (0.9, 1.0)}, "it is for utterances and"),
    ({"room": 2.0}, "room is 2.0, but it is for mixtures"),
    ({"noise": "folder:x"}, "noise is folder:x, but it is for mixtures"),
    ({"most_tokens": 9}, "it is for lines"),
    ({"longest_s": 0.0}, "above 0"),
    ({"corpus": "text:x"}, "utterances need sound"),
    (
      {"examples": "lines", "corpus": "text:x", "valid_corpus": "voices"},
      "another text:FILE",
    ),
    ({"examples": "lines", "corpus": "text:x", "split": "a"}, "has none"),
    ({"examples": "words"}, r"it takes Literal"),
  ],
)
def test_refused(data, message):
  with pytest.raises(ValueError, match=message):
    opened(config_of(**data))


def test_mixtures_that_exist_are_refused(premixed):
  spec = premixed(["tr", "cv"])
  with pytest.raises(ValueError, match="utterances are needed"):
    opened(config_of(corpus=spec))
