"""Corpora listed in CSV and JSON lines."""

import json

import numpy as np
import pytest
import soundfile

from data_pipelines import corpora
from data_pipelines.corpora import CorpusError


@pytest.fixture
def files(tmp_path, write_audio):
  write_audio("audio/a.wav", num_samples=3000, seed=1)
  write_audio("audio/b.flac", num_samples=4000, rate_hz=16000, seed=2)
  return tmp_path


def test_csv(files, caplog):
  path = files / "list.csv"
  path.write_text(
    "path,speaker,start,length,text,split\n"
    'audio/b.flac,0012,100,700,"words, more",train\n'
    "audio/a.wav,ann,,,,valid\n"
    "audio/b.flac,ann,800,,x,train\n"
  )
  corpus = corpora.open_corpus(f"manifest:{path}")
  assert corpus.path.tolist() == ["audio/b.flac", "audio/a.wav", "audio/b.flac"]
  assert corpus.start.tolist() == [100, 0, 800]
  assert corpus.length.tolist() == [700, 3000, 3200]
  assert corpus.rate_hz.tolist() == [16000, 8000, 16000]
  assert corpus.speakers == ("0012", "ann")
  assert corpus["text"].tolist() == ["words, more", "", "x"]
  whole, _ = soundfile.read(files / "audio/b.flac", dtype="float32")
  np.testing.assert_array_equal(corpus.read(0, 5, 50), whole[105:155])
  valid = corpora.open_corpus(f"manifest:{path}", split="valid")
  assert valid.speakers == ("ann",) and len(valid) == 1
  assert "all splits are taken: ['train', 'valid']" in caplog.text
  with pytest.raises(CorpusError, match="of split dev, only of"):
    corpora.open_corpus(f"manifest:{path}", split="dev")


def test_json_lines(files):
  path = files / "list.jsonl"
  rows = [
    {"path": str(files / "audio/a.wav"), "speaker": 7, "age": 31.5},
    {"path": "a.wav", "length": 10, "speaker": 8, "age": 2},
  ]
  path.write_text("\n\n".join(json.dumps(row) for row in rows))
  corpus = corpora.read_manifest(path, root=files / "audio")
  with pytest.raises(CorpusError, match=r"list\.jsonl has no column singer"):
    corpus["singer"]
  assert corpus.speakers == ("7", "8")
  assert corpus["age"].tolist() == [31.5, 2.0]
  assert corpus.length.tolist() == [3000, 10]
  np.testing.assert_array_equal(corpus.read(0, 0, 10), corpus.read(1))


@pytest.mark.parametrize(
  ("name", "text", "message"),
  [
    ("x.csv", "path\nnone.wav\n", "line 2: none.wav: No such file"),
    ("x.csv", "path\nx.csv\n", "line 2: x.csv: "),
    ("x.csv", "path,start\naudio/a.wav,-1\n", "line 2: samples -1 to"),
    ("x.csv", "path,length\naudio/a.wav,1.5\n", "line 2: length is '1.5', not"),
    ("x.csv", "path,length\naudio/a.wav,9999\n", "line 2: samples 0 to 9999"),
    ("x.csv", "path,text\naudio/a.wav\n", "line 2: expected 2 values"),
    ("x.csv", "file\naudio/a.wav\n", "no column path, only file; expected"),
    ("x.csv", "path,text\n,x\n", "line 2: has no path"),
    ("x.csv", "", "lists no recording"),
    ("x.jsonl", '{"path": "audio/a.wav"}\n{"pa', "line 2: is not JSON"),
    ("x.jsonl", "[1]", "line 1: is not a JSON object"),
    ("x.jsonl", '{"path": "audio/a.wav", "x": []}', "line 1: x is neither"),
    (
      "x.jsonl",
      '{"path": "audio/a.wav", "x": 1}\n{"path": "audio/a.wav"}',
      "line 2: x must be in all lines or none",
    ),
  ],
)
def test_mistakes_name_the_line(files, name, text, message):
  (files / name).write_text(text)
  with pytest.raises(CorpusError, match=message) as caught:
    corpora.open_corpus(f"manifest:{files / name}")
  assert "\n" not in str(caught.value)
