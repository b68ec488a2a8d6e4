"""The log, TensorBoard events, sound and pictures, Weights & Biases."""

import io
import json
import struct
import sys
import types

import numpy as np
import pytest
import soundfile
from etils import epath
from toy_fit import fit

from jaxsep import train
from jaxsep.train import writer


def test_picture_shows_a_tone_at_its_height():
  time = np.arange(8000) / 8000
  tone = np.sin(2 * np.pi * 1000 * time).astype(np.float32)
  image = writer.spectrogram_image(tone, sample_rate_hz=8000)
  height, width = image.shape
  row = np.argmax(image[:, width // 2])
  # 1000 of 4000 Hz, counted from the bottom.
  assert abs((height - 1 - row) / (height - 1) - 0.25) < 0.01


@pytest.mark.parametrize("length", [0, 1, 50_000])
def test_pictures_of_any_length(length):
  image = writer.spectrogram_image(np.zeros(length), sample_rate_hz=8000)
  assert image.shape[1] <= 601 and image.dtype == np.uint8


def test_log_has_one_object_a_line(tmp_path):
  log = writer.Writer(epath.Path(tmp_path), tensorboard=False)
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
  path = epath.Path(tmp_path) / "log.jsonl"
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


def events_of(folder):
  from tensorboardX.proto import event_pb2

  (path,) = folder.iterdir()
  data, events = path.read_bytes(), []
  while data:
    (length,) = struct.unpack("<Q", data[:8])
    events.append(event_pb2.Event.FromString(data[12 : 12 + length]))
    data = data[16 + length :]
  return events


def test_events_hold_sound_and_pictures(tmp_path):
  log = writer.Writer(epath.Path(tmp_path), start_step=5)
  log.scalars(6, "train", {"loss": 1.0})
  signal = np.sin(np.arange(800) * 0.1).astype(np.float32)
  log.signals(6, {"mixture": signal}, sample_rate_hz=8000)
  # Louder than full scale, and of two sources.
  both = {"mixture": signal, "estimate": 4 * np.stack([signal, -signal])}
  log.signals(7, both, sample_rate_hz=8000)
  log.close()
  events = events_of(tmp_path / "tensorboard")
  # Events of the future are purged.
  assert any(e.session_log.status == 1 and e.step == 6 for e in events)
  values = {(e.step, v.tag): v for e in events for v in e.summary.value}
  assert (6, "train/loss") in values
  # What never changes is written once.
  assert (6, "audio/mixture") in values and (7, "audio/mixture") not in values
  audio = values[7, "audio/estimate_2"].audio
  heard, rate = soundfile.read(io.BytesIO(audio.encoded_audio_string))
  assert rate == 8000
  peak = np.abs(signal).max()
  np.testing.assert_allclose(heard, -signal / peak, atol=1e-4)
  picture = values[7, "spectrogram/estimate_1"].image
  assert picture.encoded_image_string.startswith(b"\x89PNG")
  assert picture.height == 129


def test_weights_and_biases_gets_the_values_of_the_log(tmp_path, monkeypatch):
  calls, logged = [], []
  run = types.SimpleNamespace(
    log=lambda values, step: logged.append((step, values)),
    finish=lambda: calls.append("finished"),
  )
  wandb = types.SimpleNamespace(
    init=lambda **options: calls.append(options) or run
  )
  monkeypatch.setitem(sys.modules, "wandb", wandb)
  for num_steps in (5, 10):
    fit(tmp_path, num_steps=num_steps, wandb_project="voices")
  first, _, second, _ = calls
  assert first["project"] == "voices" and first["config"]["train"]["seed"] == 0
  # A run that goes on is the same run there.
  assert first["id"] == second["id"] and second["resume"] == "allow"
  steps = {step for step, values in logged if "eval/loss" in values}
  assert steps == {5, 10}


def test_missing_package_is_named_before_the_first_step(tmp_path, monkeypatch):
  for package, options in {
    "wandb": {"wandb_project": "voices"},
    "tensorboardX": {"tensorboard": True},
  }.items():
    with monkeypatch.context() as patch:
      patch.setitem(sys.modules, package, None)
      with pytest.raises(
        train.TrainingError,
        match=f"{package} is not installed: pip install",
      ):
        fit(tmp_path, **options)
  assert fit(tmp_path).reason == "finished"
