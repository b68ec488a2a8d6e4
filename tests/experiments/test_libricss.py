"""Readers of LibriCSS: as released, as rearranged, and as we write it."""

import pathlib
import shutil

import numpy as np
import pytest
import soundfile

from experiments.separation_for_asr import libricss, make_sessions
from jaxsep import text

RATE = 8000
NAMES = {
  "0S": "overlap_ratio_0.0_sil0.1_0.5_session0_actual0.0",
  "0L": "overlap_ratio_0.0_sil2.9_3.0_session9_actual0.0",
  "OV10": "overlap_ratio_10.0_sil0.1_1.0_session5_actual9.9",
  "OV40": "overlap_ratio_40.0_sil0.1_1.0_session2_actual41.2",
}
# Twelve utterances of 1 s every 1.5 s, and a segment for each.
STARTS = 0.25 + 1.5 * np.arange(12)


def write(path, signal):
  path.parent.mkdir(parents=True, exist_ok=True)
  soundfile.write(path, signal, RATE, subtype="PCM_16")


def make_session(folder, seed=0):
  """A session of seven channels, as the release and its script have it."""
  record, words = folder / "record", folder / "transcription"
  signal = np.random.default_rng(seed).normal(0, 0.3, (19 * RATE, 7))
  write(record / "raw_recording.wav", signal)
  # The script reads and writes, which rounds loud samples once more.
  read = soundfile.read(record / "raw_recording.wav")[0]
  words.mkdir()
  lines = ["start\tend\tspeaker\tutterance_id\ttranscription"]
  texts = []
  for index, start in enumerate(STARTS):
    said = f"WORD {index}"
    lines.append(f"{start}\t{start + 1}\t1089\t1089-134-{index:04d}\t{said}")
    texts.append(f"utterance_{index}.wav\t{said}")
    for kind, margin in (("utterance", 0.0), ("segment", 0.25)):
      begin, end = ((start + x) * RATE for x in (-margin, 1 + margin))
      part = read[round(begin) : round(end)]
      write(record / f"{kind}s" / f"{kind}_{index}.wav", part)
  (words / "meeting_info.txt").write_text("\n".join(lines))
  (words / "utterance_transcription.txt").write_text("\n".join(texts) + "\n")


@pytest.fixture
def release(tmp_path):
  root = tmp_path / "for_release"
  for seed, (condition, name) in enumerate(NAMES.items()):
    make_session(root / condition / name, seed)
  return root


def rearranged(release, root):
  """What `dataprep.py` makes of the release, for one microphone."""
  lines = []
  for folder in release.glob("*/overlap*"):
    for kind in ("segments", "utterances"):
      for path in (folder / "record" / kind).iterdir():
        signal = soundfile.read(path)[0][:, 0]
        write(root / "monaural" / kind / folder.name / path.name, signal)
    texts = folder / "transcription" / "utterance_transcription.txt"
    lines += [
      f"{folder.name}_{line.replace('.wav', '')}\n"
      for line in texts.read_text().splitlines()
    ]
  path = root / "monaural" / "utterances" / "utterance_transcription.txt"
  path.write_text("".join(lines))
  return root


def test_the_release(release):
  for root in (release, release.parent):
    sessions = libricss.open_sessions(root)
    assert [s.name for s in sessions] == list(NAMES.values())
  assert [s.condition for s in sessions] == list(NAMES)
  assert [s.number for s in sessions] == [0, 9, 5, 2]
  utterances, segments = sessions[1].utterances(), sessions[1].segments()
  assert [x.name for x in utterances] == [f"utterance_{i}" for i in range(12)]
  assert [x.name for x in segments] == [f"segment_{i}" for i in range(12)]
  for index, (utterance, segment) in enumerate(
    zip(utterances, segments, strict=True)
  ):
    assert utterance.turns[0].text == f"WORD {index}"
    (turn,) = segment.turns
    assert turn.text == f"WORD {index}" and turn.speaker == "1089"
    np.testing.assert_allclose([turn.start_s, turn.end_s], [0.25, 1.25])
  first = soundfile.read(segments[3].path)[0][:, 0]
  np.testing.assert_array_equal(segments[3].read(RATE), first)
  assert segments[3].read(2 * RATE).shape == (2 * len(first),)


def test_utterances_are_those_that_the_script_cuts(release):
  session = libricss.open_sessions(release)[2]
  assert session.folder
  for piece in session.utterances():
    path = session.folder / "record" / "utterances" / f"{piece.name}.wav"
    expected = soundfile.read(path)[0][:, 0]
    np.testing.assert_allclose(piece.read(RATE), expected, atol=1e-4)


def test_the_release_before_its_script_has_run(release):
  session = libricss.open_sessions(release)[2]
  assert session.folder
  shutil.rmtree(session.folder / "record" / "segments")
  with pytest.raises(ValueError, match=r"which segment_libricss\.py"):
    session.segments()


def test_the_rearranged_pieces(release, tmp_path):
  root = rearranged(release, tmp_path / "new")
  for place in (root, root / "monaural"):
    sessions = libricss.open_sessions(place)
    assert [s.condition for s in sessions] == list(NAMES)
  session = sessions[3]
  pieces = session.utterances()
  assert [x.turns[0].text for x in pieces] == [f"WORD {i}" for i in range(12)]
  assert pieces[11].name == "utterance_11"
  assert pieces[11].turns[0].end_s == 1.0
  with pytest.raises(ValueError, match="by --references"):
    session.segments()
  references = tmp_path / "references"
  (references / session.name).mkdir(parents=True)
  for index in range(12):
    turn = text.SpokenTurn("S", "0", "A", 0.25, 1.25, f"WORD {index}")
    stem = references / session.name / f"segment_{index}.stm"
    text.write_stm(stem, [turn])
  segments = session.segments(references)
  assert segments[10].turns == (turn._replace(text="WORD 10"),)
  texts = root / "monaural/utterances/utterance_transcription.txt"
  texts.write_text(f"{session.name}_utterance_0\tWORD 0\n")
  with pytest.raises(ValueError, match=r"no transcript of utterance_1$"):
    session.utterances()


def test_the_sessions_that_we_write(tmp_path):
  make_sessions.main(
    [
      "--corpus=voices",
      "--conditions=OV30,0L",
      "--num_sessions=1",
      "--minutes=0.4",
      "--num_speakers=3",
      "--sample_rate_hz=8000",
      "--num_utterances=5",
      f"--output={tmp_path}",
    ]
  )
  sessions = libricss.open_sessions(tmp_path)
  assert [s.condition for s in sessions] == ["0L", "OV30"]
  for session in sessions:
    turns = session.turns()
    utterances, segments = session.utterances(), session.segments()
    assert [u.turns[0].text for u in utterances] == [t.text for t in turns]
    held = [turn.text for piece in segments for turn in piece.turns]
    assert held == [turn.text for turn in turns]
    for piece in [*utterances, *segments]:
      length_s = len(piece.read(RATE)) / RATE
      assert piece.turns[0].start_s >= 0
      assert piece.turns[-1].end_s <= length_s + 1e-4


def test_what_is_missing_is_named(release, tmp_path):
  with pytest.raises(ValueError, match="has no sessions of LibriCSS"):
    libricss.open_sessions(tmp_path / "nothing")
  session = libricss.open_sessions(release)[0]
  folder = pathlib.Path(session.folder)
  (folder / "record/segments/segment_4.wav").unlink()
  with pytest.raises(ValueError, match="hold 11 of 12 utterances"):
    session.segments()
  info = folder / "transcription/meeting_info.txt"
  info.write_text("header\n1\t2\tthree\n")
  with pytest.raises(ValueError, match="line 2 is not start, end"):
    session.turns()
  info.unlink()
  with pytest.raises(ValueError, match=r"meeting_info\.txt: is missing"):
    session.segments()
  write(folder / "record/raw_recording.wav", np.zeros((19 * RATE, 7)))
  session = libricss.open_sessions(release)[1]
  other = session.folder / "record/segments/segment_0.wav"
  write(other, np.random.default_rng(9).normal(0, 0.3, (RATE, 7)))
  with pytest.raises(ValueError, match=r"is not a part of .*raw_recording"):
    session.segments()
