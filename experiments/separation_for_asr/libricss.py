"""Reads LibriCSS, as released and as its scripts rearrange it.

Of the release, `DIR` is the folder of `0L`, `0S`, `OV10` ... (`for_release`),
or the one above it. Its script `segment_libricss.py` cuts the recordings into
segments, which the continuous evaluation needs. `dataprep.py` of the repository
chenzhuo1011/libri_css copies the pieces to `DIR/monaural` or `DIR/7ch`. Then
references of segments come from that repository's `scoring/references`.
"""

import dataclasses
import functools
import pathlib
import re

import numpy as np

from jaxsep import audio
from jaxsep.text import SpokenTurn, read_stm

#: In the order of the paper's tables.
CONDITIONS = ("0S", "0L", "OV10", "OV20", "OV30", "OV40")

_SESSION = re.compile(
  r"overlap_ratio_([\d.]+)_sil([\d.]+)_([\d.]+)_session(\d+)_actual[\d.]+"
)
_LEAST_OF_0L_S = 1.0
# A cut file may differ by a step of 16 bits, which its writer rounds.
_PROBE, _TOLERANCE = 32, 1.5 / 32768


@dataclasses.dataclass(frozen=True)
class Piece:
  """A part of a session and what is said in it, in times from its start.

  Attributes:
    name: `utterance_3` or `segment_0`.
    path: Audio file.
    turns: Who says what in it.
    span_s: The part in the file if that holds more.
  """

  name: str
  path: pathlib.Path
  turns: tuple[SpokenTurn, ...]
  span_s: tuple[float, float] | None = None

  def read(self, sample_rate_hz: int) -> np.ndarray:
    """The first channel `[T]`."""
    if self.span_s is None:
      return audio.read(self.path, sample_rate_hz=sample_rate_hz)[0][0]
    recording, rate = _first_channel(self.path)
    start, end = (round(time_s * rate) for time_s in self.span_s)
    blocks = audio.resample_blocks(
      [recording[np.newaxis, start:end]],
      orig_rate_hz=rate,
      target_rate_hz=sample_rate_hz,
    )
    return np.concatenate(list(blocks), axis=1)[0]


@dataclasses.dataclass(frozen=True)
class Session:
  """A recording of about ten minutes.

  Attributes:
    name: Name of its folder.
    condition: One of `CONDITIONS`.
    number: Its number within the condition, 0 to 9.
    folder: Of the release; None where pieces were copied from it.
    pieces: Folder of the pieces for each kind, `segments` and `utterances`.
  """

  name: str
  condition: str
  number: int
  folder: pathlib.Path | None
  pieces: dict[str, pathlib.Path]

  def utterances(self) -> list[Piece]:
    """All utterances, cut from the recording where there is one."""
    if self.folder:
      path = self.folder / "record" / "raw_recording.wav"
      return [
        Piece(
          f"utterance_{index}",
          path,
          (_moved(turn, turn.start_s),),
          (turn.start_s, turn.end_s),
        )
        for index, turn in enumerate(self.turns())
      ]
    paths = self._paths("utterances")
    if not paths:
      raise ValueError(f"{self.pieces['utterances']}: has no utterance_*.wav")
    texts = self._texts()
    if missing := [path.stem for path in paths if path.stem not in texts]:
      raise ValueError(f"{self.name}: no transcript of {missing[0]}")

    def turn(path):
      length_s = audio.info(path).duration_s
      text = texts[path.stem]
      return SpokenTurn(self.name, "0", "A", 0.0, length_s, text)

    return [Piece(path.stem, path, (turn(path),)) for path in paths]

  def segments(self, references: pathlib.Path | None = None) -> list[Piece]:
    """All segments.

    Args:
      references: Folder with `SESSION/segment_0.stm` ...; None finds the
        segments in the recording, whose turns have times.
    """
    paths = self._paths("segments")
    if not paths:
      raise ValueError(
        f"{self.pieces['segments']}: has no segment_*.wav, which"
        " segment_libricss.py in the release makes"
      )
    if references is not None:
      stems = [references / self.name / f"{path.stem}.stm" for path in paths]
      return [
        Piece(path.stem, path, tuple(read_stm(stem)))
        for path, stem in zip(paths, stems, strict=True)
      ]
    if self.folder is None:
      raise ValueError(
        f"{self.name}: its segments have no references: name the folder"
        " scoring/references of the repository libri_css by --references"
      )
    turns, found = self.turns(), []
    for path in paths:
      start_s, end_s = self._find(path)
      inside = [
        _moved(turn, start_s)
        for turn in turns
        if start_s <= (turn.start_s + turn.end_s) / 2 < end_s
      ]
      found.append(Piece(path.stem, path, tuple(inside)))
    if (count := sum(len(piece.turns) for piece in found)) != len(turns):
      raise ValueError(
        f"{self.name}: its segments hold {count} of {len(turns)} utterances:"
        " is a segment missing?"
      )
    return found

  def turns(self) -> list[SpokenTurn]:
    """Who says what in the whole recording, by its start."""
    assert self.folder is not None
    path = self.folder / "transcription" / "meeting_info.txt"
    turns = []
    for number, line in enumerate(_lines(path)[1:], 2):
      try:
        start, end, speaker, _, said = line.split("\t")
        turn = self.name, "0", speaker, float(start), float(end), said.strip()
      except ValueError:
        raise ValueError(
          f"{path}: line {number} is not start, end, speaker, utterance, text"
        ) from None
      turns.append(SpokenTurn(*turn))
    return turns

  def _paths(self, kind):
    """The files of a kind by their numbers: 10 is after 9."""
    names = re.compile(rf"{kind[:-1]}_(\d+)")
    paths = self.pieces[kind].glob("*.wav")
    numbered = [(names.fullmatch(path.stem), path) for path in paths]
    return [
      path for _, path in sorted((int(m[1]), path) for m, path in numbered if m)
    ]

  def _texts(self):
    """What is said in the copied utterances, by the names of their files."""
    path = self.pieces["utterances"].parent / "utterance_transcription.txt"
    rows = [line.partition("\t") for line in _lines(path)]
    prefix = f"{self.name}_"
    return {
      name.removeprefix(prefix).removesuffix(".wav"): said.strip()
      for name, _, said in rows
      if name.startswith(prefix)
    }

  def _find(self, path):
    """From and to when the recording holds the samples of a segment."""
    assert self.folder is not None
    whole = self.folder / "record" / "raw_recording.wav"
    recording, rate = _first_channel(whole)
    segment = audio.read(path)[0][0]
    begin = int(np.argmax(np.abs(segment[: len(segment) - _PROBE])))
    places = np.arange(begin, len(recording) - _PROBE)
    for offset in range(_PROBE):
      error = recording[places + offset] - segment[begin + offset]
      places = places[np.abs(error) <= _TOLERANCE]
    if len(places) != 1:
      raise ValueError(f"{path}: is not a part of {whole}")
    start = int(places[0]) - begin
    return start / rate, (start + len(segment)) / rate


def open_sessions(root: pathlib.Path) -> list[Session]:
  """All sessions of a folder, in the order of the paper's tables."""
  found = []
  for folder in (root, root / "for_release", root / "monaural", root / "7ch"):
    found = [*folder.glob("*/overlap_ratio_*")]
    if found:
      break
  named = [(_SESSION.fullmatch(path.name), path) for path in found]
  sessions = {
    match.group(): _session(match, path) for match, path in named if match
  }
  if not sessions:
    raise ValueError(
      f"{root}: has no sessions of LibriCSS: 0S/overlap_ratio_... as released,"
      " or monaural/utterances/overlap_ratio_..."
    )
  return sorted(
    sessions.values(), key=lambda x: (CONDITIONS.index(x.condition), x.number)
  )


def _session(match, path):
  ratio, shortest_s, number = float(match[1]), float(match[2]), int(match[4])
  condition = f"OV{ratio:.0f}"
  if not ratio:
    condition = "0L" if shortest_s > _LEAST_OF_0L_S else "0S"
  if condition not in CONDITIONS:
    raise ValueError(f"{path}: {ratio} % is no overlap ratio of LibriCSS")
  kinds = ("segments", "utterances")
  if path.parent.name in kinds:
    top = path.parent.parent
    folder, pieces = None, {kind: top / kind / path.name for kind in kinds}
  else:
    folder, pieces = path, {kind: path / "record" / kind for kind in kinds}
  return Session(path.name, condition, number, folder, pieces)


def _moved(turn, start_s):
  times = {"start_s": turn.start_s - start_s, "end_s": turn.end_s - start_s}
  return turn._replace(**times)


def _lines(path):
  if not path.exists():
    raise ValueError(f"{path}: is missing; unpack the release again")
  return path.read_text(encoding="utf-8").splitlines()


@functools.lru_cache(maxsize=1)
def _first_channel(path):
  """The samples of a recording, kept until those of the next one."""
  signal, rate = audio.read(path)
  return np.ascontiguousarray(signal[0]), rate
