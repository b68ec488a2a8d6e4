"""Word errors of LibriCSS, and the paper's own."""

import os
import random

import numpy as np
import pytest

from experiments.separation_for_asr import scoring
from experiments.separation_for_asr.paper import ROWS
from jaxsep.text import SpokenTurn, TimedWord, read_stm

TURNS = [
  SpokenTurn("x", "0", "1089", 0.0, 2.0, "HELLO WORLD"),
  SpokenTurn("x", "0", "61", 1.5, 3.0, "GOOD MORNING ALL"),
  SpokenTurn("x", "0", "1089", 2.5, 4.0, "THANK YOU"),
]


def spoken(*streams):
  """Words as `stream: [(word, start_s) ...]`, 0.3 s each."""
  return [
    TimedWord("x", str(number), start_s, start_s + 0.3, word)
    for number, words in enumerate(streams)
    for word, start_s in words
  ]


PERFECT = spoken(
  [("hello", 0.1), ("world", 1.0), ("thank", 2.6), ("you", 3.2)],
  [("good", 1.6), ("morning", 2.0), ("all", 2.5)],
)


def test_the_better_output_counts():
  outputs = ["good day", "hello there world", "Hello world!"]
  assert scoring.best_output(outputs, "HELLO WORLD") == (2, 0, 2)
  assert scoring.best_output(["", "a b c d"], "x") == (0, 1, 1)
  assert scoring.best_output(["b", "c"], "a") == (0, 1, 1)


def test_streams_by_meeteval():
  pytest.importorskip("meeteval", reason="needs meeteval: extra asr")
  assert scoring.stream_errors(PERFECT, TURNS) == {"orc": 0, "tcorc": 0}
  assert scoring.stream_errors([], TURNS) == {"orc": 7, "tcorc": 7}
  # The order of words is that of time, not of the list.
  mixed = random.Random(0).sample(PERFECT, len(PERFECT))
  assert scoring.stream_errors(mixed, TURNS) == {"orc": 0, "tcorc": 0}
  wrong = [PERFECT[0]._replace(word="hallo"), *PERFECT[1:]]
  assert scoring.stream_errors(wrong, TURNS) == {"orc": 1, "tcorc": 1}
  # Right words at a wrong time: only times tell.
  late = [
    word._replace(start_s=word.start_s + 20, end_s=word.end_s + 20)
    for word in PERFECT
  ]
  assert scoring.stream_errors(late, TURNS) == {"orc": 0, "tcorc": 14}


def test_few_speakers_for_the_scorer():
  assert [turn.speaker for turn in scoring.labelled(TURNS)] == ["A", "B", "A"]
  third = SpokenTurn("x", "0", "5", 1.6, 1.9, "yes")
  turns = scoring.labelled([third, *TURNS])
  assert [turn.speaker for turn in turns] == ["A", "B", "C", "A"]
  assert [turn.text for turn in turns][2] == "yes"


@pytest.fixture
def sctk():
  if scoring.find_program("asclite") is None:
    pytest.skip("needs SCTK: asclite on the PATH")


def test_one_list_by_asclite(sctk, tmp_path):
  def score(words):
    return scoring.asclite_errors(words, TURNS, tmp_path, "x-0")

  assert score(PERFECT) == (0, 7)
  assert read_stm(tmp_path / "x-0.stm")[1].speaker == "B"
  assert score(PERFECT[1:]) == (1, 7)
  assert score([*PERFECT, *spoken([("oh", 3.6)])]) == (1, 7)
  assert score([]) == (7, 7)


def test_rules_for_texts(sctk, tmp_path):
  glm = tmp_path / "rules.glm"
  names = ('name "x"', 'desc "x"', "format = 'NIST1'", "max_nrules = '9'")
  further = ("copy_no_hit = 'T'", "case_sensitive = 'F'")
  lines = [f"* {word}" for word in (*names, *further)]
  glm.write_text("\n".join([*lines, "HALLO => HELLO / [ ] __ [ ]", ""]))
  words = [PERFECT[0]._replace(word="hallo"), *PERFECT[1:]]
  assert scoring.asclite_errors(words, TURNS, tmp_path, "x") == (1, 7)
  found = scoring.asclite_errors(words, TURNS, tmp_path, "x", glm=glm)
  assert found == (0, 7)


def test_a_scorer_that_fails(tmp_path, monkeypatch):
  program = tmp_path / "asclite"
  program.write_text("#!/bin/sh\necho out of memory >&2\nexit 3\n")
  program.chmod(0o755)
  monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
  with pytest.raises(ValueError, match=r"asclite failed in .*: out of"):
    scoring.asclite_errors(PERFECT, TURNS, tmp_path / "new", "x")
  program.write_text("#!/bin/sh\n")
  with pytest.raises(ValueError, match="asclite scored nothing"):
    scoring.asclite_errors(PERFECT, TURNS, tmp_path / "new", "x")


def test_rates_of_conditions():
  found = [
    {"condition": "OV40", "errors": 2, "words": 10},
    {"condition": "0S", "errors": 2, "words": 10},
    {"condition": "0S", "errors": 10, "words": 100},
  ]
  rates = scoring.rates(found, "errors", "words")
  np.testing.assert_allclose(rates["0S"], 100 * 12 / 110)
  np.testing.assert_allclose(rates["mean"], (100 * 12 / 110 + 20) / 2)
  assert list(rates) == ["0S", "OV40", "mean"]
  lines = scoring.table({"ours": rates, ROWS[0].title: ROWS[0].rates})
  assert lines.splitlines()[2] == "| ours | 10.91 |  |  |  |  | 20.00 | 15.45 |"
  assert "| paper, table 1: none, recogniser matched | 6.00 | 5.50" in lines


def test_the_papers_rows():
  means = [round(row.rates["mean"], 2) for row in ROWS]
  expected = [
    *(18.50, 9.65, 9.10, 9.85, 10.63, 11.43, 10.55),
    *(8.03, 7.53, 7.12, 6.30, 6.03, 5.73, 9.92, 9.05),
    *(7.05, 6.68, 6.85, 6.35),
    *(11.77, 9.88, 9.55, 13.95, 11.00),
  ]
  np.testing.assert_allclose(means, expected, atol=0.0051)
  assert len({row.title for row in ROWS}) == len(ROWS)
