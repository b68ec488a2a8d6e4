"""STM and CTM files."""

import pytest

from jaxsep import text
from jaxsep.text import SpokenTurn, TimedWord

TURNS = [
  SpokenTurn("a", "0", "A", 0.0, 1.25, "it's é"),
  SpokenTurn("a", "0", "B", 1.0, 2.5, ""),
]
WORDS = [
  TimedWord("a", "0", 0.3, 0.7, "it's"),
  TimedWord("b", "1", 10.1, 10.3, "é"),
]


def test_stm_comes_back(tmp_path):
  text.write_stm(tmp_path / "x", TURNS)
  assert text.read_stm(tmp_path / "x") == TURNS


def test_ctm_has_begin_and_duration(tmp_path):
  text.write_ctm(tmp_path / "x", WORDS)
  lines = (tmp_path / "x").read_text(encoding="utf-8").splitlines()
  assert lines == ["a 0 0.300 0.400 it's", "b 1 10.100 0.200 é"]
  text.write_ctm(tmp_path / "x", [])
  assert (tmp_path / "x").read_text() == ""


def test_what_others_write_is_read(tmp_path):
  path = tmp_path / "x"
  path.write_text(";; comment\n\nS 0 A 0.00 2.99 <O,O0.0,N> WE  MODERNS\n")
  turn = SpokenTurn("S", "0", "A", 0.0, 2.99, "WE MODERNS")
  assert text.read_stm(path) == [turn]


def test_mistakes(tmp_path):
  path = tmp_path / "x"
  for line in ("S 0 A 1.5", "S 0 A word 1 word", "S 0 A -1 0.25 word"):
    path.write_text(f"S 0 A 0 1 word\n{line}\n")
    with pytest.raises(
      ValueError, match="x: line 2 does not belong in an STM file"
    ):
      text.read_stm(path)
  for word in ("", "two words"):
    with pytest.raises(ValueError, match="must be one word"):
      text.write_ctm(path, [TimedWord("a", "0", 0, 1, word)])
  with pytest.raises(ValueError, match="must be one word"):
    text.write_stm(path, [SpokenTurn("a b", "0", "A", 0, 1, "x")])
  assert path.read_text().endswith("S 0 A -1 0.25 word\n")
