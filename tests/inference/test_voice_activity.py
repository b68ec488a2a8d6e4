"""Segments of speech."""

import pathlib
import sys
import types

import numpy as np
import pytest

import jaxsep
from jaxsep import audio, inference

RATE = 8000


@pytest.fixture
def loud(monkeypatch):
  """A detector for which all that is not silent is speech."""

  def is_speech(frame, rate_hz):
    assert len(frame) == 2 * rate_hz * 30 // 1000
    return any(frame)

  detector = types.SimpleNamespace(is_speech=is_speech)
  package = types.SimpleNamespace(Vad=lambda mode: detector)
  monkeypatch.setitem(sys.modules, "webrtcvad", package)


def recording(*spans_s, duration_s=12.0, rate=RATE):
  signal = np.zeros(round(duration_s * rate), np.float32)
  for start_s, end_s in spans_s:
    signal[round(start_s * rate) : round(end_s * rate)] = 0.1
  return signal


def found(signal, rate=RATE):
  pairs = inference.voice_segments([signal], sample_rate_hz=rate)
  return [(start / rate, end / rate) for start, end in pairs]


# Laws.


def test_segments_are_merged_and_have_margins(loud):
  # The end of speech is noticed 0.3 s late: these pauses are of 0.3 and 1.8 s.
  signal = recording((0.9, 2.1), (2.7, 3.9), (6.0, 7.2))
  np.testing.assert_allclose(found(signal), [(0.65, 4.45), (5.75, 7.75)])


@pytest.mark.parametrize(("gap_s", "count"), [(1.26, 1), (1.32, 2)])
def test_a_pause_of_a_second_divides(loud, gap_s, count):
  signal = recording((0.9, 2.1), (2.1 + gap_s, 6.0))
  assert len(found(signal)) == count


def test_single_frames_are_no_speech_and_no_pause(loud):
  assert found(recording((3.0, 3.27))) == []
  signal = recording((3.0, 6.0))
  signal[round(4.2 * RATE) : round(4.47 * RATE)] = 0
  np.testing.assert_allclose(found(signal), [(2.75, 6.55)])


def test_blocks_make_no_difference(loud):
  signal = recording((0.9, 2.1), (6.0, 7.2))
  blocks = np.split(signal, [1, 239, 240, 241, 9000, 60001])
  pairs = list(inference.voice_segments(blocks, sample_rate_hz=RATE))
  assert pairs == list(inference.voice_segments([signal], sample_rate_hz=RATE))


def test_the_ends_of_a_recording(loud):
  np.testing.assert_allclose(found(recording((0.0, 12.0))), [(0, 12)])
  signal = recording((0.03, 1.5), (9.0, 12.0))
  np.testing.assert_allclose(found(signal), [(0, 2.05), (8.75, 12)])
  np.testing.assert_allclose(found(recording((6.0, 11.6)))[0][1], 12)
  for length in (0, 1, 239, 2399):
    assert found(np.full(length, 0.1, np.float32)) == []


# With the package.


def test_speech_is_found_at_any_rate():
  pytest.importorskip("webrtcvad", reason="needs webrtcvad: extra asr")
  path = pathlib.Path(jaxsep.__file__).parent / "demo" / "speaker_1.flac"
  times = []
  for rate in (8000, 16000, 11025):
    speech = audio.read(path, sample_rate_hz=rate)[0][0, : 4 * rate]
    silence = np.zeros(3 * rate, np.float32)
    signal = np.concatenate([silence, speech, silence, speech, silence])
    times.append(found(signal, rate))
  assert [len(segments) for segments in times] == [2, 2, 2]
  expected = [(3, 7), (10, 14)]
  np.testing.assert_allclose(times[1], expected, atol=1.0)
  np.testing.assert_allclose(times[2], times[1], atol=0.07)


# Failure.


def test_what_is_missing_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, "webrtcvad", None)
  with pytest.raises(ImportError, match=r"pip install 'jaxsep\[asr\]'"):
    found(recording((1.0, 2.0)))
