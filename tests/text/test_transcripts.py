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


def test_files_come_back(tmp_path):
  text.write_stm(tmp_path / "x", TURNS)
  assert text.read_stm(tmp_path / "x") == TURNS
  text.write_ctm(tmp_path / "x", WORDS)
  assert text.read_ctm(tmp_path / "x") == WORDS
  text.write_ctm(tmp_path / "x", [])
  assert text.read_ctm(tmp_path / "x") == []


def test_what_others_write_is_read(tmp_path):
  path = tmp_path / "x"
  path.write_text(";; comment\n\nS 0 A 0.00 2.99 <O,O0.0,N> WE  MODERNS\n")
  turn = SpokenTurn("S", "0", "A", 0.0, 2.99, "WE MODERNS")
  assert text.read_stm(path) == [turn]
  path.write_text("S 0 1.5 0.25 WE 0.98\n")
  assert text.read_ctm(path) == [TimedWord("S", "0", 1.5, 1.75, "WE")]


def test_mistakes(tmp_path):
  path = tmp_path / "x"
  for line in ("S 0 1.5 0.25", "S 0 A 0.25 word", "S 0 -1 0.25 word"):
    path.write_text(f"S 0 0 1 word\n{line}\n")
    with pytest.raises(
      ValueError, match="x: line 2 does not belong in a CTM file"
    ):
      text.read_ctm(path)
  path.write_text("S 0 A\n")
  with pytest.raises(ValueError, match="line 1 does not belong in a STM file"):
    text.read_stm(path)
  for word in ("", "two words"):
    with pytest.raises(ValueError, match="must be one word"):
      text.write_ctm(path, [TimedWord("a", "0", 0, 1, word)])
  with pytest.raises(ValueError, match="must be one word"):
    text.write_stm(path, [SpokenTurn("a b", "0", "A", 0, 1, "x")])
  assert path.read_text() == "S 0 A\n"
