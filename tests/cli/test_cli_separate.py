"""`jaxsep separate` on ordinary files."""

import numpy as np
import pytest
import soundfile
from two_bands import RATE, draw, outputs, small_conv_tasnet, tones

import jaxsep
from jaxsep import audio, model_io

load = model_io.load


def test_one_file_per_source(make, separate, tmp_path):
  sources = tones(20 * RATE + 123)
  path = make("meeting.flac", sources.sum(0), subtype="PCM_24")
  code, out, err = separate(path)
  assert code == 0
  assert err == []
  expected = [f"{tmp_path}/out/meeting_{number}.wav" for number in (1, 2)]
  assert out == expected
  assert outputs(tmp_path) == ["meeting_1.wav", "meeting_2.wav"]
  assert {soundfile.info(name).subtype for name in out} == {"FLOAT"}
  estimate = np.concatenate([audio.read(name)[0] for name in out])
  assert estimate.shape == sources.shape
  if abs(estimate[0] @ sources[1]) > abs(estimate[0] @ sources[0]):
    estimate = estimate[::-1]
  error = np.sum((estimate - sources) ** 2, -1) / np.sum(sources**2, -1)
  assert (error < 1e-2).all()


@pytest.mark.parametrize(
  ("rate", "num_channels"), [(7919, 1), (16000, 8), (44100, 2)]
)
def test_any_rate_and_channels(make, separate, rate, num_channels):
  sources = tones(3 * rate + 17, rate)
  mixture = sources.sum(0)
  path = make(
    "x.wav", np.tile(mixture, (num_channels, 1)), rate, subtype="FLOAT"
  )
  code, out, err = separate(path)
  assert code == 0
  estimate, read_rate = zip(*map(audio.read, out), strict=True)
  assert set(read_rate) == {rate}
  total = np.concatenate(estimate).sum(0)
  assert total.shape == mixture.shape
  middle = slice(rate // 10, -rate // 10)
  error = np.sum((total - mixture)[middle] ** 2) / np.sum(mixture**2)
  assert error < 1e-2
  assert len(err) == (num_channels > 1) + (rate > RATE)
  if num_channels > 1:
    assert f"mean of its {num_channels} channels" in err[0]
  if rate > RATE:
    assert "nothing above 4000 Hz" in err[-1]


def test_one_channel_of_many(make, separate):
  sources = tones(2 * RATE)
  path = make("x.wav", np.stack([sources[0], sources.sum(0)]), subtype="FLOAT")
  code, out, err = separate(path, "--channel=2")
  assert code == 0
  assert err == [f"note: {path}: separating channel 2 of 2"]
  total = sum(audio.read(name)[0][0] for name in out)
  np.testing.assert_allclose(total, sources.sum(0), atol=0.01)


def test_channels_that_cancel_are_pointed_out(make, separate):
  mixture = tones(RATE).sum(0)
  path = make("x.wav", np.stack([mixture, -mixture]), subtype="FLOAT")
  code, _, err = separate(path)
  assert code == 0
  assert "cancel" in err[-1]


@pytest.mark.parametrize(
  "samples",
  [
    np.zeros(3 * RATE),
    np.full(1, 0.5),
    np.sign(np.random.default_rng(0).normal(size=3 * RATE)),
  ],
  ids=["silent", "one_sample", "full_scale_bits"],
)
def test_ordinary_files(make, separate, samples):
  path = make("x.wav", samples, 7919, subtype="FLOAT")
  code, out, err = separate(path)
  assert code == 0
  for name in out:
    source, rate = audio.read(name)
    assert (source.shape, rate) == ((1, len(samples)), 7919)
    assert np.abs(source).max() <= 4 * np.abs(samples).max()
  # One sample is nothing but an offset.
  silent = int(np.ptp(samples) == 0)
  assert err == ([f"note: {path}: is silent; so are the outputs"] * silent)


def test_samples_beyond_measure_are_pointed_out(make, separate):
  path = make("x.wav", 1e5 * tones(2 * RATE).sum(0), subtype="FLOAT")
  code, _, err = separate(path)
  assert code == 0
  assert "full scale is 1: is it damaged?" in err[-1]


def test_outputs_have_no_offset(make, separate):
  sound = tones(9 * RATE).sum(0)  # Of more than one block.
  code, out, _ = separate(make("x.wav", sound - 0.3, subtype="FLOAT"))
  assert code == 0
  total = sum(audio.read(name)[0][0] for name in out)
  np.testing.assert_allclose(total, sound, atol=0.03 * np.abs(sound).max())


def test_a_low_voice_with_an_offset(make, separate):
  rate = 48000
  sound = 1e-4 * tones(rate, rate).sum(0)
  code, out, _ = separate(make("x.wav", sound + 0.5, rate, subtype="FLOAT"))
  assert code == 0
  total = sum(audio.read(name)[0][0] for name in out)
  assert np.abs(total).max() < 3 * np.abs(sound).max()


def test_nothing_but_an_offset_is_silence(make, separate):
  path = make("x.wav", np.full(2 * RATE, 0.25), subtype="FLOAT")
  code, out, err = separate(path)
  assert code == 0
  assert any("is silent" in line for line in err)
  assert max(np.abs(audio.read(name)[0]).max() for name in out) < 1e-9


def test_integer_outputs_report_clipping(make, separate):
  path = make("x.wav", tones(2 * RATE, amplitude=2.0).sum(0), subtype="FLOAT")
  code, out, err = separate(path, "--format=flac", "--encoding=pcm16")
  assert code == 0
  assert {soundfile.info(name).subtype for name in out} == {"PCM_16"}
  assert len(err) == 2
  for name, line in zip(out, sorted(err), strict=True):
    assert line.startswith(f"note: {name}: ")
    assert "samples beyond full scale were clipped" in line


def test_what_the_model_does_not_hear_is_shared(make, separate):
  rate = 16000
  mixture = tones(2 * rate, rate).sum(0)
  high = 0.05 * np.sin(2 * np.pi * 6000 / rate * np.arange(2 * rate))
  path = make("x.wav", mixture + high, rate, subtype="FLOAT")
  kept = {}
  for word in ("none", "share"):
    code, out, err = separate(path, f"--upper_band={word}", "--overwrite")
    assert (code, len(err)) == (0, 1)
    total = sum(audio.read(name)[0][0] for name in out)
    kept[word] = total @ high / (high @ high)
  assert "outputs share what is above 4000 Hz" in err[0]
  np.testing.assert_allclose(list(kept.values()), [0, 1], atol=0.02)


# A model in a folder.


def test_a_saved_model(make, separate, tmp_path, monkeypatch):
  monkeypatch.setattr(model_io, "load", load)
  model = small_conv_tasnet(num_sources=3)
  jaxsep.save(tmp_path / "model", model, draw(model), sample_rate_hz=16000)
  path = make("x.wav", tones(3 * RATE).sum(0))
  code, out, _ = separate(path, f"--model={tmp_path}/model")
  assert code == 0
  assert len(out) == 3
  for name in out:
    assert audio.read(name)[0].shape == (1, 3 * RATE)
