"""Transcripts of recordings with times, in the files that scorers read."""

import os
import pathlib
from collections.abc import Iterable
from typing import NamedTuple


class SpokenTurn(NamedTuple):
  """What a speaker says in one go: a line of an STM file.

  Attributes:
    recording: Name of the recording.
    channel: Its channel.
    speaker: Who speaks.
    start_s: When, in seconds.
    end_s: Until when.
    text: The words, which may be none.
  """

  recording: str
  channel: str
  speaker: str
  start_s: float
  end_s: float
  text: str


class TimedWord(NamedTuple):
  """A word that was recognised: a line of a CTM file.

  Attributes:
    recording: Name of the recording.
    channel: Its channel, or the separated stream.
    start_s: When it begins, in seconds.
    end_s: When it ends.
    word: The word.
  """

  recording: str
  channel: str
  start_s: float
  end_s: float
  word: str


def write_stm(
  path: str | os.PathLike[str], turns: Iterable[SpokenTurn]
) -> None:
  """Writes a reference for NIST's scorers, one turn a line.

  Args:
    path: The file, which is replaced if there is one.
    turns: What is said.

  Raises:
    ValueError: If a name is empty or holds white space.

  Example:
    >>> import tempfile
    >>> turn = SpokenTurn("meeting", "0", "A", 0.5, 1.25, "good morning")
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "meeting.stm"
    >>> write_stm(path, [turn])
    >>> print(path.read_text().strip())
    meeting 0 A 0.500 1.250 good morning
    >>> read_stm(path) == [turn]
    True
  """
  lines = []
  for turn in turns:
    names = _names(turn.recording, turn.channel, turn.speaker)
    words = turn.text.split()
    times = (f"{turn.start_s:.3f}", f"{turn.end_s:.3f}")
    lines.append(" ".join([*names, *times, *words]))
  _write(path, lines)


def read_stm(path: str | os.PathLike[str]) -> list[SpokenTurn]:
  """Reads what `write_stm` writes; labels in angle brackets are left out.

  Args:
    path: The file.

  Returns:
    The turns, in the order of the file.

  Raises:
    ValueError: If a line is none of an STM file.
  """
  turns = []
  for fields in _lines(path):
    words = fields[5:]
    if words and words[0].startswith("<") and words[0].endswith(">"):
      words = words[1:]
    start_s, end_s = map(float, fields[3:5])
    recording, channel, speaker = fields[:3]
    turn = recording, channel, speaker, start_s, end_s, " ".join(words)
    turns.append(SpokenTurn(*turn))
  return turns


def write_ctm(path: str | os.PathLike[str], words: Iterable[TimedWord]) -> None:
  """Writes recognised words for NIST's scorers, one a line.

  Args:
    path: The file, which is replaced if there is one.
    words: The words; scorers want those of a channel in the order of time.

  Raises:
    ValueError: If a name or a word is empty or holds white space.

  Example:
    >>> import tempfile
    >>> word = TimedWord("meeting", "0", 0.5, 0.75, "good")
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "meeting.ctm"
    >>> write_ctm(path, [word])
    >>> print(path.read_text().strip())
    meeting 0 0.500 0.250 good
  """
  lines = []
  for found in words:
    recording, channel, word = _names(
      found.recording, found.channel, found.word
    )
    lasts_s = found.end_s - found.start_s
    lines.append(
      f"{recording} {channel} {found.start_s:.3f} {lasts_s:.3f} {word}"
    )
  _write(path, lines)


def _names(*names):
  for name in names:
    if len(name.split()) != 1:
      raise ValueError(f"{name!r} must be one word, without white space")
  return names


def _write(path, lines):
  text = "".join(f"{line}\n" for line in lines)
  pathlib.Path(path).write_text(text, encoding="utf-8")


def _lines(path):
  """The fields of each line; lines that begin with ;; are comments."""
  text = pathlib.Path(path).read_text(encoding="utf-8")
  for number, line in enumerate(text.splitlines(), 1):
    fields = line.split()
    if not fields or line.startswith(";;"):
      continue
    try:
      is_whole = all(float(fields[place]) >= 0 for place in (3, 4))
    except (ValueError, IndexError):
      is_whole = False
    if not is_whole:
      raise ValueError(
        f"{path}: line {number} does not belong in an STM file: {line!r}"
      )
    yield fields
