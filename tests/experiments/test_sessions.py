"""Sessions like those of LibriCSS: overlaps, layout, and the command."""

import itertools
import json

import numpy as np
import pytest

from data_pipelines.voices import make_voices
from experiments.separation_for_asr import make_sessions, sessions
from jaxsep import audio

RATE = 8000


@pytest.fixture(scope="module")
def corpus():
  return make_voices(
    num_speakers=6, utterances_per_speaker=30, utterance_s=4.0, split="test"
  )


def planned(corpus, condition, seed=0, seconds=120.0):
  return sessions.plan(
    corpus,
    condition,
    seconds=seconds,
    sample_rate_hz=RATE,
    num_speakers=4,
    seed=seed,
  )


@pytest.mark.parametrize("condition", sessions.CONDITIONS)
def test_overlap_is_what_is_asked_for(corpus, condition):
  wanted, shortest, longest = sessions.CONDITIONS[condition]
  for seed in range(5):
    turns = planned(corpus, condition, seed)
    assert abs(sessions.overlap_ratio(turns) - wanted) < 0.01
    assert abs(turns[-1].end / RATE - 120) < 15
    active = np.zeros(turns[-1].end, int)
    for turn in turns:
      active[turn.start : turn.end] += 1
    assert active.max() <= 2
    ratio = np.mean(active > 1) / np.mean(active > 0)
    np.testing.assert_allclose(sessions.overlap_ratio(turns), ratio, atol=1e-6)
    pairs = list(itertools.pairwise(turns))
    gaps = [(b.start - a.end) / RATE for a, b in pairs if b.start > a.end]
    assert gaps and min(gaps) > shortest - 1e-3
    assert max(gaps) <= longest
    assert all(a.speaker != b.speaker for a, b in pairs)
    assert len({turn.row for turn in turns}) == len(turns)
    assert len({turn.speaker for turn in turns}) == 4


def test_segments_end_in_silence(corpus):
  turns = planned(corpus, "OV20", seconds=200.0)
  cuts = sessions.segments(turns, RATE)
  assert len(cuts) > 1 and cuts[0][0] == 0 and cuts[-1][1] == turns[-1].end
  for start, end in cuts[:-1]:
    assert end - start >= 40 * RATE
  for turn in turns:
    inside = [a <= turn.start and turn.end <= b for a, b in cuts]
    assert sum(inside) == 1


def test_too_small_a_corpus_is_refused(corpus):
  with pytest.raises(ValueError, match="give more utterances"):
    planned(corpus, "0S", seconds=2000.0)
  with pytest.raises(ValueError, match="6 speakers, fewer than the 8"):
    sessions.plan(corpus, "0S", seconds=9, sample_rate_hz=RATE, seed=0)


ARGUMENTS = [
  "--corpus=voices",
  "--conditions=OV30",
  "--num_sessions=1",
  "--minutes=0.4",
  "--num_speakers=3",
  "--sample_rate_hz=8000",
  "--num_utterances=5",
]


def test_the_command_writes_the_layout_of_the_release(tmp_path, capsys):
  make_sessions.main([*ARGUMENTS, f"--output={tmp_path}"])
  assert "min" in capsys.readouterr().out
  (folder,) = (tmp_path / "OV30").iterdir()
  assert folder.name.startswith("overlap_ratio_30.0_sil0.1_1.0_session0_actual")
  actual = float(folder.name.rpartition("actual")[2])
  assert abs(actual - 30.0) < 1.0
  lines = (folder / "transcription/meeting_info.txt").read_text().splitlines()
  header, *rows = (line.split("\t") for line in lines)
  names = ["start_time", "end_time", "speaker", "utterance_id", "transcription"]
  assert header == names
  recording = audio.read(folder / "record/raw_recording.wav")[0]
  dry = audio.read(folder / "clean/each_spk.wav")[0]
  mix = audio.read(folder / "clean/mix.wav")[0][0]
  assert recording.shape[0] == 1 and dry.shape[0] == 3
  scale = np.dot(mix, dry.sum(0)) / np.dot(mix, mix)
  np.testing.assert_allclose(scale * mix, dry.sum(0), atol=2e-4)
  texts = (folder / "transcription/utterance_transcription.txt").read_text()
  for index, (row, line) in enumerate(
    zip(rows, texts.splitlines(), strict=True)
  ):
    assert line == f"utterance_{index}.wav\t{row[4]}"
    start, end = (round(float(x) * RATE) for x in row[:2])
    path = folder / f"record/utterances/utterance_{index}.wav"
    np.testing.assert_array_equal(audio.read(path)[0], recording[:, start:end])
  (cuts,) = json.loads((tmp_path / "all_res.json").read_text()).values()
  for index, (start, end) in enumerate(cuts):
    path = folder / f"record/segments/segment_{index}.wav"
    np.testing.assert_array_equal(audio.read(path)[0], recording[:, start:end])


@pytest.mark.parametrize("has_room", [True, False])
def test_without_a_room_speakers_are_only_scaled(corpus, has_room):
  made = sessions.render(
    corpus,
    planned(corpus, "OV20", seconds=10.0),
    sample_rate_hz=RATE,
    snr_db=60.0,
    has_room=has_room,
    seed=0,
  )
  recording = made["recording"][: made["dry"].shape[1]]
  gains, *_ = np.linalg.lstsq(made["dry"].T, recording, rcond=None)
  rest = np.sum((recording - gains @ made["dry"]) ** 2) / np.sum(recording**2)
  assert (rest < 1e-5) is not has_room
  assert has_room or np.ptp(20 * np.log10(gains)) <= 5.0


@pytest.mark.parametrize(
  ("words", "message"),
  [
    (["--output=."], "not an empty folder"),
    (["--output=new", "--conditions=OV50"], "'OV50'; there are 0S"),
    (["--output=new", "--minutes=90"], "give more utterances"),
  ],
)
def test_mistakes_are_one_line(words, message, capsys, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "file").write_text("")
  with pytest.raises(SystemExit):
    make_sessions.main([*ARGUMENTS, *words])
  error = capsys.readouterr().err
  assert message in error and error.count("\n") == 1
