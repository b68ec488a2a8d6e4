"""Written audio files, and those that cannot be written."""

import multiprocessing
import resource
import signal
import time

import numpy as np
import pytest
from noise_signals import RATE, noise

from jaxsep import audio

# Laws.


def test_written_is_read_back(tmp_path):
  signal = noise(2)
  for name, encoding, step in [
    ("a.wav", None, 0),
    ("a.wav", "pcm24", 2.0**-23),
    ("a.WAV", "pcm16", 2.0**-15),
    ("a.flac", None, 2.0**-23),
    ("a.flac", "pcm16", 2.0**-15),
  ]:
    path = tmp_path / name
    audio.write(path, signal, sample_rate_hz=7919, encoding=encoding)
    result, rate = audio.read(path)
    assert rate == 7919
    np.testing.assert_allclose(result, signal, atol=step, rtol=0)
    path.unlink()
  assert not list(tmp_path.iterdir())


def test_float_files_keep_samples_beyond_full_scale(tmp_path):
  path = tmp_path / "loud.wav"
  audio.write(path, 30 * noise(), sample_rate_hz=RATE)
  np.testing.assert_array_equal(audio.read(path)[0], 30 * noise())


def test_clipping_is_never_silent(tmp_path):
  path = tmp_path / "loud.flac"
  signal = np.float32([[0.5, 1.5, -2.0, 1.0]])
  with pytest.warns(UserWarning, match=r"loud.flac: 2 samples beyond full"):
    audio.write(path, signal, sample_rate_hz=RATE)
  expected = np.clip(signal, -1, 1)
  np.testing.assert_allclose(audio.read(path)[0], expected, atol=1e-6)


def test_a_file_appears_when_it_is_complete(tmp_path):
  path = tmp_path / "x.wav"
  with audio.Writer(path, sample_rate_hz=RATE) as writer:
    writer.write(noise())
    writer.write(noise())
    assert not path.exists()
  assert audio.info(path).num_samples == 2 * RATE
  before = path.read_bytes()
  with pytest.raises(KeyboardInterrupt):
    with audio.Writer(path, sample_rate_hz=RATE) as writer:
      writer.write(noise())
      raise KeyboardInterrupt
  assert path.read_bytes() == before
  assert [entry.name for entry in tmp_path.iterdir()] == ["x.wav"]


def write_forever(path):
  with audio.Writer(path, sample_rate_hz=RATE) as writer:
    writer.write(noise())
    path.with_name("ready").touch()
    signal.pause()


def test_the_rest_of_a_killed_process_is_removed(tmp_path):
  path = tmp_path / "[x].wav"
  process = multiprocessing.get_context("spawn").Process(
    target=write_forever, args=[path]
  )
  process.start()
  while not (tmp_path / "ready").exists():
    assert process.is_alive()
    time.sleep(0.01)
  audio.write(path, noise(), sample_rate_hz=RATE)
  (part,) = tmp_path.glob(".*")  # While it runs, it keeps what it writes.
  process.kill()
  process.join()
  other = tmp_path / ".[x].wav.another-host.1.part"
  other.write_bytes(part.read_bytes())
  audio.write(path, noise(), sample_rate_hz=RATE)
  assert list(tmp_path.glob(".*")) == [other]


def test_a_file_past_four_gigabytes_is_announced_as_one(tmp_path):
  path = tmp_path / "long.wav"
  with audio.Writer(path, sample_rate_hz=RATE, num_samples=2**31) as writer:
    writer.write(noise())
  assert path.read_bytes()[:4] == b"RF64"
  np.testing.assert_array_equal(audio.read(path)[0], noise())


# Failures.


def test_where_a_file_cannot_be_written(tmp_path):
  samples = noise()
  for name, match, options in [
    ("none/x.wav", "No such file or directory", {}),
    ("x.mp3", r"can write \.wav and \.flac, not 'MP3'", {}),
    ("x.wav", "encoding must be one of", {"encoding": "mulaw"}),
    ("x.flac", "FLAC holds no float", {"encoding": "float"}),
  ]:
    path = tmp_path / name
    with pytest.raises(audio.AudioError, match=match) as caught:
      audio.write(path, samples, sample_rate_hz=RATE, **options)
    assert str(caught.value).startswith(f"{path}: ")
  (tmp_path / "x.wav").mkdir()
  with pytest.raises(audio.AudioError, match="is a folder"):
    audio.write(tmp_path / "x.wav", samples, sample_rate_hz=RATE)
  samples[0, 7] = np.nan
  with pytest.raises(audio.AudioError, match="NaN or Inf"):
    audio.write(tmp_path / "y.wav", samples, sample_rate_hz=RATE)
  assert not (tmp_path / "y.wav").exists()


@pytest.mark.parametrize(
  ("name", "rate", "channels", "match"),
  [
    ("x.wav", 0, 1, "WAV holds rates of whole 1 Hz up to 2147483647 Hz, got 0"),
    ("x.wav", 2**31, 1, "got 2147483648"),
    ("x.flac", 700_000, 1, "up to 655350 Hz, got 700000"),
    ("x.flac", 100_003, 1, "FLAC holds rates of whole 10 Hz"),
    ("x.flac", RATE, 9, "FLAC holds 1 to 8 channels, got 9"),
    ("x.wav", RATE, 0, "WAV holds 1 to 1024 channels, got 0"),
  ],
)
def test_rates_and_channels_that_no_file_has(
  tmp_path, name, rate, channels, match
):
  with pytest.raises(audio.AudioError, match=match):
    audio.Writer(tmp_path / name, sample_rate_hz=rate, num_channels=channels)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ("name", "limit"),
  # Of the FLAC, only what is written at its close does not fit.
  [("x.wav", 1 << 20), ("x.flac", 1000), ("x.flac", 3_000_000)],
)
def test_a_full_disk_is_one_line(tmp_path, name, limit):
  path = tmp_path / name
  if limit > 1 << 20:
    audio.write(path, noise(1, 1 << 20), sample_rate_hz=RATE)
    limit = path.stat().st_size - 1
    path.unlink()
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
  resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
  try:
    with pytest.raises(audio.AudioError, match="is the disk full") as caught:
      audio.write(path, noise(1, 1 << 20), sample_rate_hz=RATE)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)
  assert "\n" not in str(caught.value)
  assert not list(tmp_path.iterdir())
