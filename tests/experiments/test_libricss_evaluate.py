"""The evaluation on LibriCSS: words are tones, speakers are bands."""

import csv
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile

from experiments import job
from experiments.separation_for_asr import evaluate, scoring
from jaxsep import inference, model_io, text

RATE, WORD_S = 8000, 0.3
WORDS = {"one": 500, "two": 900, "three": 2500, "four": 2900}
SESSIONS = {
  "0S": "overlap_ratio_0.0_sil0.1_0.5_session0_actual0.0",
  "OV40": "overlap_ratio_40.0_sil0.1_1.0_session1_actual39.9",
}
# The second speaker begins so late after the first.
LATER_S = {"0S": 2.4, "OV40": 0.6}


class Bands(nn.Module):
  """Separates what is below 2 kHz from what is above."""

  num_sources: int = 2

  @nn.compact
  def __call__(self, mixture, *, length=None):
    spectrum = jnp.fft.rfft(mixture)[:, None]
    is_high = jnp.arange(spectrum.shape[-1]) >= spectrum.shape[-1] // 2
    masks = jnp.stack([~is_high, is_high])[None]
    return jnp.fft.irfft(spectrum * masks, mixture.shape[-1])


class ByEar:
  """Hears the loudest tone of every word's length."""

  sample_rate_hz = RATE
  num_calls = 0

  def __call__(self, signals):
    ByEar.num_calls += 1
    return [self.words(signal) for signal in signals]

  def words(self, signal):
    size = round(WORD_S * RATE)
    found = []
    for start in range(0, len(signal) - size // 2, size):
      part = signal[start : start + size]
      spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), RATE))
      heard = {word: spectrum[hz] for word, hz in WORDS.items()}
      word = max(heard, key=heard.__getitem__)
      if heard[word] > 20:
        start_s = start / RATE
        found.append((word, start_s, start_s + WORD_S))
    return found


def loud(blocks, *, sample_rate_hz):
  """From the first to the last loud sample."""
  (signal,) = blocks
  places = np.flatnonzero(np.abs(signal) > 0.05)
  if len(places):
    grid = round(WORD_S * sample_rate_hz)
    yield places[0] // grid * grid, places[-1] + 1


@pytest.fixture
def release(tmp_path):
  time_s = np.arange(round(WORD_S * RATE)) / RATE
  for condition, name in SESSIONS.items():
    folder = tmp_path / "data" / condition / name
    signal = np.zeros(round(6 * RATE))
    lines = ["start\tend\tspeaker\tutterance\ttext"]
    starts = (0.6, 0.6 + LATER_S[condition])
    # The second speaker is softer.
    texts = (("ONE TWO ONE", 0.3), ("THREE FOUR", 0.2))
    for start_s, (said, level) in zip(starts, texts, strict=True):
      at = round(start_s * RATE)
      tones = [np.sin(2 * np.pi * WORDS[word.lower()] * time_s)
               for word in said.split()]  # fmt: skip
      tone = level * np.concatenate(tones)
      signal[at : at + len(tone)] += tone
      end_s = start_s + len(tone) / RATE
      lines.append(f"{start_s}\t{end_s}\t{level}\tid\t{said}")
    record = folder / "record"
    (record / "segments").mkdir(parents=True)
    (folder / "transcription").mkdir()
    (folder / "transcription" / "meeting_info.txt").write_text("\n".join(lines))
    signal = np.repeat(signal[:, None], 7, axis=1)
    signal += np.random.default_rng(0).normal(0, 1e-3, signal.shape)
    soundfile.write(record / "raw_recording.wav", signal, RATE)
    part = soundfile.read(record / "raw_recording.wav")[0][2400:]
    soundfile.write(record / "segments" / "segment_0.wav", part, RATE)
  return tmp_path / "data"


@pytest.fixture
def evaluated(release, tmp_path, monkeypatch, capsys):
  pytest.importorskip("meeteval", reason="needs meeteval: extra asr")
  loaded = model_io.LoadedModel(Bands(), {}, RATE)
  monkeypatch.setattr(job, "load_model", lambda folder: loaded)
  monkeypatch.setattr(evaluate, "Recognizer", lambda *_, **__: ByEar())
  monkeypatch.setattr(inference, "voice_segments", loud)

  def call(*words):
    usual = ("--recognizer=R", f"--output={tmp_path}/out")
    evaluate.main([f"--libricss={release}", *usual, *words])
    return capsys.readouterr().out

  return call


def read(path):
  with open(path, newline="") as file:
    return list(csv.DictReader(file))


def rates(out, title):
  (line,) = [line for line in out.splitlines() if title in line]
  return [float(x) if x.strip() else None for x in line.split("|")[2:-1]]


def test_a_separator_and_no_separator(evaluated, tmp_path):
  out = evaluated("--model=B", "--examples=1", "--paper")
  header = "| WER (%) | 0S | 0L | OV10 | OV20 | OV30 | OV40 | mean |"
  assert out.splitlines()[0] == header
  for title in ("better output by an oracle", "continuous, ORC-WER", "tcORC"):
    assert rates(out, title) == [0, None, None, None, None, 0, 0]
  has_asclite = scoring.find_program("asclite") is not None
  assert ("continuous, asclite" in out) == has_asclite
  assert rates(out, "paper, table 4: [18], SA")[-1] == 11.77
  assert "over the conditions that were evaluated" in out
  rows = read(tmp_path / "out" / "utterance.csv")
  assert [row["condition"] for row in rows] == ["0S", "0S", "OV40", "OV40"]
  assert rows[3] == {
    "condition": "OV40",
    "session": SESSIONS["OV40"],
    "piece": "utterance_1",
    "words": "2",
    "errors": "0",
    "output": "2",
    "reference": "THREE FOUR",
    "recognized": "three four",
  }
  folder = tmp_path / "out" / "examples" / SESSIONS["OV40"]
  assert sorted(path.name for path in folder.iterdir()) == [
    f"{piece}_{what}.wav"
    for piece in ("segment_0", "utterance_0")
    for what in ("1", "2", "mixture")
  ]
  # Nothing separated: the softer speaker is lost where both speak.
  out = evaluated(f"--output={tmp_path}/raw")
  assert rates(out, "oracle") == [0, 20, 10]
  assert rates(out, "continuous, ORC-WER") == [0, 20, 10]


def test_a_run_goes_on(evaluated, tmp_path, refused, release):
  evaluated("--protocol=utterance", "--sessions=0")
  before = ByEar.num_calls
  out = evaluated("--protocol=utterance")
  assert ByEar.num_calls == before + 1
  assert rates(out, "oracle")[-1] == 10
  assert len(read(tmp_path / "out" / "utterance.csv")) == 4
  line = refused(
    evaluate.main,
    [f"--libricss={release}", "--recognizer=R", f"--output={tmp_path}/out",
     "--model=B"],
  )  # fmt: skip
  assert "holds something else; choose another one, or pass --overwrite" in line
  out = evaluated("--protocol=utterance", "--model=B", "--overwrite")
  assert rates(out, "oracle")[-1] == 0


def test_words_come_back_to_their_signals(tmp_path, monkeypatch):
  class Said(NamedTuple):
    start_s: float
    end_s: float
    text: str
    words: tuple

  class Timed(NamedTuple):
    start_s: float
    end_s: float
    text: str

  def transcribe(model, variables, tokenizer, blocks, **options):
    """The first second of each segment is one word, the rest another."""
    assert options["beam_size"] == 3
    assert sum(map(len, blocks)) == options["segments"][-1][1]
    parts = []
    for start, end in options["segments"]:
      start_s, end_s = start / RATE, end / RATE
      for a, b in ((start_s, start_s + 1), (start_s + 1, end_s)):
        if b > a:
          parts.append(Said(a, b, "x", (Timed(a, b, f"{b - a:g}"),)))
    return parts

  tokenizer = text.WordTokenizer(["one"])
  tokenizer.save(tmp_path / "tokenizer")
  loaded = model_io.LoadedModel(
    Bands(), {}, RATE, files={"tokenizer": tmp_path / "tokenizer"}
  )
  monkeypatch.setattr(job, "load_model", lambda folder: loaded)
  monkeypatch.setattr(inference, "transcribe", transcribe, raising=False)
  recognize = evaluate.Recognizer("R", None, beam_size=3)
  assert recognize([]) == []
  signals = [np.zeros(RATE), np.zeros(3 * RATE), np.zeros(RATE)]
  assert recognize(signals) == [
    [("1", 0, 1)],
    [("1", 0, 1), ("2", 1, 3)],
    [("1", 0, 1)],
  ]
  loaded.files.clear()
  with pytest.raises(ValueError, match="which has no tokenizer"):
    evaluate.Recognizer("R", None)


def test_mistakes_are_one_line(refused, release, tmp_path):
  usual = [f"--libricss={release}", "--recognizer=R", f"--output={tmp_path}/o"]
  for words, message in [
    (usual[:2], "--output is missing"),
    ([*usual, "--sessions=7"], "has no sessions"),
    ([f"--libricss={tmp_path}/no", *usual[1:]], "has no sessions of LibriCSS"),
    ([*usual, "--beam_size=0"], "beam_size"),
    ([*usual[:2], f"--output={release}"], "holds something else"),
  ]:
    assert message in refused(evaluate.main, words)
  assert not (tmp_path / "o" / "utterance.csv").exists()
