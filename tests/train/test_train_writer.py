"""The log, TensorBoard events, sound and pictures."""

import io
import json
import struct
import zlib

import numpy as np
import pytest
import soundfile

from jaxsep.train import writer


def test_png_decodes_to_the_image():
  image = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
  data = writer.png(image)
  assert data[:8] == b"\x89PNG\r\n\x1a\n"
  assert struct.unpack(">II", data[16:24]) == (7, 5)
  start = data.index(b"IDAT") + 4
  (length,) = struct.unpack(">I", data[start - 8 : start - 4])
  body = data[start : start + length]
  (checksum,) = struct.unpack(">I", data[start + length : start + length + 4])
  assert zlib.crc32(b"IDAT" + body) == checksum
  rows = np.frombuffer(zlib.decompress(body), np.uint8).reshape(5, 22)
  np.testing.assert_array_equal(rows[:, 0], 0)
  np.testing.assert_array_equal(rows[:, 1:].reshape(5, 7, 3), image)


def test_wav_is_read_by_others():
  signal = np.sin(np.arange(800) * 0.1).astype(np.float32)
  data = writer.wav(signal, sample_rate_hz=8000)
  samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
  assert rate == 8000
  np.testing.assert_allclose(samples, signal, atol=1e-4)


def test_picture_shows_a_tone_at_its_height():
  time = np.arange(8000) / 8000
  tone = np.sin(2 * np.pi * 1000 * time).astype(np.float32)
  image = writer.spectrogram_image(tone, sample_rate_hz=8000)
  height, width, _ = image.shape
  row = np.argmax(image[:, width // 2].astype(int).sum(-1))
  # 1000 of 4000 Hz, counted from the bottom.
  assert abs((height - 1 - row) / (height - 1) - 0.25) < 0.01


@pytest.mark.parametrize("length", [0, 1, 100, 50_000])
def test_pictures_of_any_length(length):
  image = writer.spectrogram_image(np.zeros(length), sample_rate_hz=8000)
  assert image.shape[1] <= 601 and np.isfinite(image).all()


def test_log_has_one_object_a_line(tmp_path):
  log = writer.Writer(tmp_path, tensorboard=False)
  log.scalars(3, "train", {"loss": 1.5, "count": 2, "odd": float("nan")})
  # Readable while the run is on.
  line = json.loads((tmp_path / "log.jsonl").read_text())
  assert line == {
    "step": 3,
    "split": "train",
    "loss": 1.5,
    "count": 2,
    "odd": None,
  }
  log.close()


def test_log_is_cut_where_a_run_goes_on(tmp_path):
  path = tmp_path / "log.jsonl"
  lines = [
    {"step": 1, "split": "train"},
    {"step": 2, "split": "train"},
    {"step": 2, "split": "eval"},
    {"step": 3, "split": "train"},
  ]
  text = "".join(json.dumps(line) + "\n" for line in lines)
  path.write_text(text + '{"step": 4, "spl')
  writer.cut_log(path, 2)
  kept = [json.loads(line) for line in path.read_text().splitlines()]
  assert kept == lines[:3]
  writer.cut_log(path, 2, evaluated=False)
  kept = [json.loads(line) for line in path.read_text().splitlines()]
  assert kept == lines[:2]


def test_events_of_the_future_are_purged(tmp_path):
  from tensorboardX.proto import event_pb2

  log = writer.Writer(tmp_path, start_step=5)
  log.scalars(6, "train", {"loss": 1.0})
  signal = np.zeros(400, np.float32)
  log.signals(6, {"mixture": signal}, sample_rate_hz=8000)
  log.signals(7, {"mixture": signal, "estimate": signal}, sample_rate_hz=8000)
  log.close()
  (path,) = (tmp_path / "tensorboard").iterdir()
  data, events = path.read_bytes(), []
  while data:
    (length,) = struct.unpack("<Q", data[:8])
    events.append(event_pb2.Event.FromString(data[12 : 12 + length]))
    data = data[16 + length :]
  assert any(e.session_log.status == 1 and e.step == 6 for e in events)
  tags = [(e.step, v.tag) for e in events for v in e.summary.value]
  assert (6, "train/loss") in tags
  # What never changes is written once.
  assert (6, "audio/mixture") in tags and (7, "audio/mixture") not in tags
  assert (7, "spectrogram/estimate") in tags


def test_silent_writer_touches_nothing(tmp_path):
  log = writer.Writer(tmp_path, active=False)
  log.scalars(1, "train", {"loss": 1.0})
  log.signals(1, {"x": np.zeros(9)}, sample_rate_hz=8000)
  log.close()
  assert not list(tmp_path.iterdir())
