"""`jaxsep transcribe`."""

import sys
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ideal_recognizer import RATE, Tones, sound
from random_params import random_params
from two_bands import Bands

import jaxsep
from jaxsep import cli, model_io, models, text

pytest.importorskip("webrtcvad")

# Tones of the first three are low, and of the others high.
WORDS = text.WordTokenizer("a b c x0 x1 x2 x3 x4 x5 y z".split())
LOW, HIGH = [3, 4, 5, 3], [12, 13, 13]
PAUSE = np.zeros(2 * RATE, np.float32)


class Copies(nn.Module):
  """Leaves a copy of all speakers in the second source."""

  num_sources: int = 2

  def __call__(self, mixture, *, length=None):
    del length
    return jnp.stack([mixture, 0.6 * mixture], axis=1)


class Ends(nn.Module):
  """A language model in which sentences have no words."""

  num_tokens: int

  def search_start(self, batch, max_length):
    return jnp.zeros(batch + 0 * max_length)

  def search_step(self, state, tokens):
    end = jnp.full(tokens.shape, text.EOS)
    scores = 300.0 * jax.nn.one_hot(end, self.num_tokens)
    return jax.nn.log_softmax(scores), state


@pytest.fixture
def transcribe(monkeypatch, tmp_path, capsys):
  WORDS.save(tmp_path / "tokenizer")
  by_name = {
    "ideal": model_io.LoadedModel(
      Tones(WORDS.size),
      {},
      RATE,
      "recognition",
      files={"tokenizer": tmp_path / "tokenizer"},
    ),
    "bands": model_io.LoadedModel(Bands(), {}, RATE),
    "copies": model_io.LoadedModel(Copies(), {}, RATE),
    "ends": model_io.LoadedModel(Ends(WORDS.size), {}, RATE),
  }
  usual = model_io.load
  monkeypatch.setattr(
    model_io, "load", lambda name: by_name.get(str(name)) or usual(name)
  )

  def call(*words, model="ideal"):
    code = cli.main(["transcribe", f"--model={model}", *words])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()

  return call


def talk():
  parts = [PAUSE, sound([3, 4, 5]), PAUSE, sound([5, 4]), PAUSE]
  return np.concatenate(parts)


def test_a_line_for_each_segment(make, transcribe):
  path = make("talk.flac", talk())
  assert transcribe(path, "--beam_size=1") == (0, ["a b c", "c b"], [])
  assert transcribe(path)[1] == ["a b c", "c b"]


@pytest.mark.parametrize(
  ("words", "found"),
  [
    (["--ctc_weight=0"], []),  # The decoder alone knows no words.
    (["--language_model=ends", "--lm_weight=0"], ["a b c", "c b"]),
    (["--language_model=ends", "--lm_weight=10"], []),
  ],
)
def test_weights_of_the_search(make, transcribe, words, found):
  path = make("talk.wav", talk())
  assert transcribe(path, "--beam_size=2", *words) == (0, found, [])


@pytest.mark.parametrize("rate", [RATE, 11025])
def test_words_with_times(make, transcribe, rate):
  signal = talk()
  if rate != RATE:
    places = np.arange(0, len(signal) - 1, RATE / rate)
    signal = np.interp(places, np.arange(len(signal)), signal)
  path = make("talk.wav", signal, rate)
  code, out, err = transcribe(path, "--timestamps", "--beam_size=1")
  assert code == 0 and err == []
  starts = [2.08, 2.28, 2.48, 4.76, 4.96]
  for line, word, start_s in zip(out, "abccb", starts, strict=True):
    first, last, found = line.split()
    assert found == word
    assert abs(float(first) - start_s) < 0.05
    assert abs(float(last) - start_s - 0.12) < 0.05


def test_files_and_channels(make, transcribe):
  both = make("two.wav", np.stack([talk(), 0 * talk()]))
  silent = make("silent.wav", np.zeros(RATE))
  slow = make("slow.wav", np.zeros(200), 4000)
  code, out, err = transcribe(both, silent, slow, "--beam_size=1")
  assert (code, out) == (0, [f"{both}: a b c", f"{both}: c b"])
  assert len(err) == 2
  assert err[0].endswith("transcribing the mean of its 2 channels")
  assert "4000 Hz, but the recogniser was trained at 8000 Hz" in err[1]
  assert transcribe(both, "--channel=2", "--quiet") == (0, [], [])
  assert "no channel 3" in transcribe(both, "--channel=3")[2][0]


def test_files_are_written_once(make, transcribe, tmp_path):
  path = make("my talk.wav", talk())
  words = (path, "--beam_size=1", f"--output_dir={tmp_path}/out")
  code, out, _ = transcribe(*words)
  assert code == 0
  assert out == [f"{tmp_path}/out/my talk.{kind}" for kind in ("txt", "ctm")]
  assert (tmp_path / "out/my talk.txt").read_text() == "a b c\nc b\n"
  lines = (tmp_path / "out/my talk.ctm").read_text().splitlines()
  found = [line.split() for line in lines]
  assert [word for *_, word in found] == list("abccb")
  assert found[0][:2] == ["my_talk", "1"]
  assert abs(float(found[0][2]) - 2.08) < 0.05
  (tmp_path / "out/my talk.txt").write_text("mine")
  code, out, err = transcribe(*words)
  assert (code, out) == (2, []) and "exists already" in err[0]
  assert (tmp_path / "out/my talk.txt").read_text() == "mine"
  assert transcribe(*words, "--overwrite")[0] == 0


def test_a_damaged_file_is_left_out(make, transcribe):
  damaged = make("nan.wav", [0.0, np.nan] * RATE, subtype="FLOAT")
  path = make("talk.wav", talk())
  code, out, err = transcribe(damaged, path, "--beam_size=1")
  assert (code, len(err)) == (2, 1) and "nan.wav" in err[0]
  assert out == [f"{path}: a b c", f"{path}: c b"]


def test_who_says_what_when(make, transcribe):
  """Two speakers at once, and one stream that is silent before."""
  low = np.concatenate([PAUSE, sound(LOW), sound(LOW)])
  high = np.concatenate([PAUSE, 0 * sound(LOW), sound(HIGH)])
  signal = (
    np.pad(low, (0, RATE))
    + np.pad(high, (0, RATE + len(sound([5]))))[: len(low) + RATE]
  )
  path = make("meeting.flac", signal)
  options = ("--css", "--separator=bands", "--beam_size=1", path)
  code, out, err = transcribe(*options)
  assert (code, err) == (0, [])
  streams = {line.partition(": ")[2]: line[0] for line in out}
  assert streams.keys() == {"a b c a a b c a", "y z z"}
  assert sorted(streams.values()) == ["1", "2"]
  code, out, _ = transcribe(*options, "--timestamps")
  starts = [float(line.split()[0]) for line in out]
  assert starts == sorted(starts)
  assert [line.split()[-1] for line in out[:4]] == ["a", "b", "c", "a"]
  assert len(out) == 11 and len({line.split()[2] for line in out[4:]}) == 2


def test_one_speaker_is_not_doubled(make, transcribe):
  """One stream is a softer copy of the other, in which words are found too."""
  path = make("talk.wav", talk())
  options = ("--css", "--separator=copies", "--beam_size=1")
  code, out, err = transcribe(path, *options)
  assert (code, err) == (0, [])
  assert sorted(line.partition(": ")[2] for line in out) == ["a b c", "c b"]


def test_trained_models_from_folders(make, transcribe, tmp_path):
  small: Any = {"size": 8, "num_heads": 2, "feedforward_size": 8}
  model = models.Recognizer(
    WORDS.size,
    sample_rate_hz=RATE,
    num_mels=16,
    num_layers=1,
    num_decoder_layers=1,
    **small,
  )
  language_model = models.LSTMLanguageModel(WORDS.size, size=8, num_layers=1)
  files = {"tokenizer": tmp_path / "tokenizer"}
  parts = {"language_model": tmp_path / "l"}
  for name, module, more in [
    ("l", language_model, {"task": "language model"}),
    ("r", model, {"files": files, "task": "recognition", "parts": parts}),
    ("unknown", model, {}),
  ]:
    variables = random_params(module, **module.example_inputs())
    jaxsep.save(tmp_path / name, module, variables, sample_rate_hz=RATE, **more)
  path = make("talk.wav", talk()[: 4 * RATE])
  lm = f"--language_model={tmp_path}/r/language_model"
  code, out, err = transcribe(path, lm, "--beam_size=2", model=f"{tmp_path}/r")
  assert (code, err) == (0, [])
  assert set(" ".join(out).split()) <= set(WORDS.symbols)
  for model_name, words, match in [
    ("unknown", [], "no file 'tokenizer'"),
    ("l", [], "LSTMLanguageModel (task: language model), recognises no words"),
    ("r", [lm, "--beam_size=1"], "a language model needs a beam_size of 2"),
    ("r", [f"--language_model={tmp_path}/r"], "Recognizer, is no language mod"),
  ]:
    code, out, err = transcribe(path, *words, model=f"{tmp_path}/{model_name}")
    assert (code, out, len(err)) == (2, [], 1)
    assert match in err[0]


def test_mistakes_are_one_line(make, transcribe, monkeypatch, tmp_path):
  path = make("talk.wav", talk())
  text.WordTokenizer(["a"]).save(tmp_path / "tokenizer")
  for words, match in [
    ([path], "the recogniser has 14 tokens and the tokenizer 4"),
    ([path, "--model=two_speakers_8k"], "recognises no words"),
    ([path, "--separator=bands"], "--separator needs --css"),
    ([path, "--css", "--separator=ideal"], "does not separate"),
    ([path, "--beam_size=0"], "--beam_size"),
    ([path, "--ctc_weight=1.1"], "ctc_weight: must be at least 0 and at m"),
    ([path, "--lm_weight=nan"], "lm_weight: must be at least 0 and at mo"),
    ([path, "--lm_weight=0.3"], "--lm_weight needs --language_model"),
    ([path, "--ctc_weight=0.3", "--beam_size=1"], "--ctc_weight needs a --bea"),
    (["none.wav"], "no such file"),
  ]:
    code, out, err = transcribe(*words)
    assert (code, out, len(err)) == (2, [], 1)
    assert match in err[0]
  (tmp_path / "tokenizer").write_text("{}")
  assert "is no tokenizer" in transcribe(path)[2][0]
  WORDS.save(tmp_path / "tokenizer")
  monkeypatch.setitem(sys.modules, "webrtcvad", None)
  code, out, err = transcribe(path)
  assert (code, out, len(err)) == (2, [], 1)
  assert "pip install 'jaxsep[asr]'" in err[0]


def test_help_says_that_none_ships(capsys):
  assert cli.main(["transcribe", "--help"]) == 0
  assert "None ships with jaxsep" in " ".join(capsys.readouterr().out.split())
