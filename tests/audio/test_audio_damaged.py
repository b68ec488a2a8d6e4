"""Audio files that are refused, each by one line."""

import struct

import numpy as np
import pytest
from noise_signals import RATE, noise

from jaxsep import audio


def refused(path, match, function=audio.read, **options):
  """Expects one line about the file."""
  with pytest.raises(audio.AudioError, match=match) as caught:
    function(path, **options)
  assert "\n" not in str(caught.value)
  assert str(caught.value).startswith(f"{path}: ")


def cut(path, share):
  data = path.read_bytes()
  path.write_bytes(data[: int(len(data) * share)])
  return path


@pytest.mark.parametrize("function", [audio.read, audio.info])
def test_what_is_no_audio_file(tmp_path, function):
  refused(tmp_path, "is a folder", function)
  (tmp_path / "folder.wav").mkdir()
  refused(tmp_path / "folder.wav", "is a folder", function)
  refused(tmp_path / "missing.wav", "no such file", function)
  for name in ("x.wav", "x.raw", "x.flac"):
    path = tmp_path / name
    path.write_bytes(b"")
    refused(path, "is empty", function)
    path.write_text("Dear diary, " * 200)
    refused(path, "not an audio file of a known format", function)


def test_no_samples(make):
  path = make(signal=np.zeros((1, 0), np.float32))
  refused(path, "holds no samples")


@pytest.mark.parametrize(
  "name", ["x.wav", "x.flac", "x.ogg", "x.aiff", "x.au", "x.w64", "x.mp3"]
)
def test_cut_off(make, name):
  path = cut(make(name, noise(1, 10 * RATE)), 0.9)
  refused(path, "is cut off|ends after")
  if name in ("x.wav", "x.flac"):  # Found before the work.
    refused(path, "cut off", audio.info)
  signal, _ = audio.read(path, allow_truncated=True)
  assert 1000 < signal.shape[1] < 10 * RATE


def test_wav_headers_that_lie(make):
  path = make(subtype="PCM_16")
  honest = path.read_bytes()
  for size, match in [
    (2 * RATE + 2, "is cut off"),
    (1 << 30, "is cut off"),
    (0xB0000000, "is cut off"),
    (1000, "header is wrong: there are more samples than it announces"),
    (0, "header is wrong"),
  ]:
    path.write_bytes(honest[:40] + struct.pack("<I", size) + honest[44:])
    refused(path, match)
  # Stopped before the header was brought up to date, in a short pause.
  stale = struct.pack("<I", 1036) + honest[8:40] + struct.pack("<I", 1000)
  paused = honest[44:1044] + bytes(500) + honest[1544:]
  path.write_bytes(honest[:4] + stale + paused)
  refused(path, "header is wrong")


def test_wav_header_that_contradicts_itself(make):
  path = make(subtype="PCM_16")
  honest = path.read_bytes()
  for rate in (1000, 16000):
    path.write_bytes(honest[:24] + struct.pack("<I", rate) + honest[28:])
    refused(path, f"contradicts itself: {rate} Hz are {2 * rate} bytes")
    _, found = audio.read(path, allow_truncated=True)
    assert found == rate


def test_rate_that_makes_hours_of_seconds(make):
  assert audio.info(make("x.au", rate=1000)).sample_rate_hz == 1000
  path = make("x.au", rate=999)
  refused(path, "says 999 Hz, which is no rate of sound")
  refused(path, "no rate of sound", allow_truncated=True)


@pytest.mark.parametrize(
  ("length", "match"),
  [(0, "does not say how long"), (2 * RATE, "16000 samples announced")],
)
def test_flac_headers_that_lie(make, length, match):
  path = make("x.flac")
  data = bytearray(path.read_bytes())
  field = int.from_bytes(data[18:26], "big")
  data[18:26] = (field >> 36 << 36 | length).to_bytes(8, "big")
  path.write_bytes(data)
  refused(path, match)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_samples_that_are_no_numbers(make, value):
  signal = noise(2)
  signal[1, 2000] = value
  path = make(signal=signal, subtype="FLOAT")
  refused(path, "1 samples are NaN or Inf or huge, the first 0.250 s into")
  blocks = audio.read_blocks(path, block_length=1999)
  assert next(blocks).shape == (2, 1999)
  with pytest.raises(audio.AudioError, match=r"0\.250 s"):
    next(blocks)


def test_damage_in_the_middle(make):
  path = make("x.flac", noise(1, 10 * RATE))
  data = bytearray(path.read_bytes())
  data[len(data) // 2 : len(data) // 2 + 20000] = bytes(20000)
  path.write_bytes(data)
  refused(path, "damaged|ends")


@pytest.mark.parametrize("name", ["x.flac", "x.ogg"])
@pytest.mark.parametrize("num_bytes", [1, 2000])
def test_damage_anywhere(make, name, num_bytes):
  """Refused in one line, or read as a whole."""
  path = make(name, noise(1, 2 * RATE))
  whole, refusals = path.read_bytes(), 0
  for start in range(0, len(whole), len(whole) // 100):
    damaged = bytearray(whole)
    part = damaged[start : start + num_bytes]
    damaged[start : start + num_bytes] = bytes(255 - byte for byte in part)
    path.write_bytes(damaged)
    try:
      assert audio.read(path)[0].shape == (1, 2 * RATE)
    except audio.AudioError as error:
      assert "\n" not in str(error)
      refusals += 1
  assert refusals > 50


def test_header_cut_off(tmp_path):
  path = tmp_path / "a.wav"
  path.write_bytes(b"RF64\xff\xff\xff\xffWAVEds64\x1c\x00\x00\x00\x00\x00")
  refused(path, "its header is damaged")
