"""Audio files, good and bad."""

import re
import resource
import signal
import struct

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.signal
import soundfile

from jaxsep import audio

RATE = 8000


def noise(num_channels=1, length=RATE, scale=0.1):
  generator = np.random.default_rng(0)
  return generator.normal(0, scale, (num_channels, length)).astype(np.float32)


@pytest.fixture
def make(tmp_path):
  """Writes a file with soundfile itself; returns its path."""

  def write(name="x.wav", signal=None, rate=RATE, **options):
    signal = noise() if signal is None else signal
    soundfile.write(tmp_path / name, signal.T, rate, **options)
    return tmp_path / name

  return write


def refused(path, match, function=audio.read, **options):
  """The one line with which a file is refused."""
  with pytest.raises(audio.AudioError, match=match) as caught:
    function(path, **options)
  line = str(caught.value)
  assert "\n" not in line
  assert line.startswith(f"{path}: ")
  return line


# Reference.


@pytest.mark.parametrize("name", ["x.wav", "x.flac", "x.ogg", "x.aiff"])
@pytest.mark.parametrize("num_channels", [1, 2, 8])
def test_reads_what_soundfile_reads(make, name, num_channels):
  path = make(name, noise(num_channels))
  expected, rate = soundfile.read(path, dtype="float32", always_2d=True)
  signal, read_rate = audio.read(path)
  np.testing.assert_array_equal(signal, expected.T)
  assert read_rate == rate
  assert signal.dtype == np.float32
  about = audio.info(path)
  assert (about.num_channels, about.num_samples) == signal.shape
  assert about.duration_s == 1.0


def test_resampling_is_like_scipys():
  time = np.arange(44100) / 44100
  signal = np.float32(np.sin(2 * np.pi * 440 * time))[np.newaxis]
  result = audio.resample(signal, orig_rate_hz=44100, target_rate_hz=8000)
  expected = scipy.signal.resample_poly(signal[0], 80, 441)
  assert result.shape == (1, 8000)
  np.testing.assert_allclose(result[0, 99:-99], expected[99:-99], atol=2e-3)


# Laws.


def test_stretches_and_blocks_are_parts_of_the_whole(make):
  path = make("x.flac", noise(2))
  whole, _ = audio.read(path)
  part, _ = audio.read(path, start=100, length=300)
  np.testing.assert_array_equal(part, whole[:, 100:400])
  blocks = list(audio.read_blocks(path, block_length=999))
  assert [block.shape[1] for block in blocks] == [999] * 8 + [8]
  np.testing.assert_array_equal(np.concatenate(blocks, -1), whole)
  assert audio.read(path, start=7990, length=300)[0].shape == (2, 10)
  assert audio.read(path, start=9000)[0].shape == (2, 0)


@hypothesis.given(
  length=st.integers(0, 3000),
  cuts=st.lists(st.integers(0, 3000), max_size=5),
  rates=st.tuples(
    st.sampled_from([7919, 8000, 16000, 44100]),
    st.sampled_from([7919, 8000, 16000]),
  ),
)
@hypothesis.settings(deadline=None, max_examples=40)
def test_resampling_in_blocks_equals_whole(length, cuts, rates):
  orig, target = rates
  signal = noise(2, length)
  cuts = sorted(min(cut, length) for cut in cuts)
  blocks = np.split(signal, cuts, axis=-1)
  change = {"orig_rate_hz": orig, "target_rate_hz": target}
  pieces = list(audio.resample_blocks(blocks, **change))
  whole = audio.resample(signal, **change)
  assert whole.shape == (2, -(-length * target // orig))
  streamed = np.concatenate([signal[:, :0], *pieces], -1)
  np.testing.assert_allclose(streamed, whole, atol=1e-6)
  back = audio.resample(
    whole, orig_rate_hz=target, target_rate_hz=orig, length=length
  )
  assert back.shape == signal.shape


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


def test_a_file_past_four_gigabytes_is_announced_as_one(tmp_path):
  path = tmp_path / "long.wav"
  with audio.Writer(path, sample_rate_hz=RATE, num_samples=2**31) as writer:
    writer.write(noise())
  assert path.read_bytes()[:4] == b"RF64"
  np.testing.assert_array_equal(audio.read(path)[0], noise())


# Edges: ordinary files that must simply work.


@pytest.mark.parametrize(
  "signal",
  [
    np.zeros((1, RATE), np.float32),
    np.full((1, 1), 0.5, np.float32),
    np.where(noise() > 0, np.float32(1), np.float32(-1)),
    np.where(noise() > 0, np.float32(2.0**-15), np.float32(0)),
    noise(8),
  ],
  ids=["silent", "one_sample", "full_scale_bits", "lowest_bit", "8_channels"],
)
@pytest.mark.parametrize("rate", [7919, 8000])
def test_ordinary_files(make, signal, rate):
  path = make(signal=signal, rate=rate, subtype="FLOAT")
  result, read_rate = audio.read(path)
  np.testing.assert_array_equal(result, signal)
  assert read_rate == rate
  resampled, _ = audio.read(path, sample_rate_hz=RATE)
  assert resampled.shape == (len(signal), -(-signal.shape[1] * RATE // rate))
  assert np.isfinite(resampled).all()


@pytest.mark.parametrize("name", ["x.wav", "x.raw", "x.mp3", "x", "x.txt"])
def test_content_counts_not_the_extension(make, tmp_path, name):
  made = make("made.flac")
  path = made.rename(tmp_path / name)
  assert audio.info(path).container == "FLAC"
  assert audio.read(path)[0].shape == (1, RATE)


def test_headers_of_pipes_are_no_lie(make):
  """A program that writes into a pipe states the largest length there is."""
  path = make(subtype="PCM_16")
  data = bytearray(path.read_bytes())
  for size in (0xFFFFFFFF, 0xFFFFFFD3, 1 << 31, (1 << 31) - 1, 0x7FFFF000):
    data[4:8] = data[40:44] = struct.pack("<I", size)
    path.write_bytes(data)
    assert audio.read(path)[0].shape == (1, RATE)


def test_tags_behind_the_samples_are_no_lie(make):
  path = make(subtype="PCM_16")
  data = path.read_bytes()
  tags = b"LIST" + struct.pack("<I", 3000) + bytes(3000)
  for tail in (tags, b"TAG" + bytes(125), bytes(4096)):
    path.write_bytes(data + tail)
    assert audio.read(path)[0].shape == (1, RATE)


# Failures.


def set_flac_length(path, length):
  """States another number of samples in the header."""
  data = bytearray(path.read_bytes())
  field = int.from_bytes(data[18:26], "big")
  data[18:26] = (field >> 36 << 36 | length).to_bytes(8, "big")
  path.write_bytes(data)


def cut(path, share=0.5):
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
    refused(path, "no audio file of a known format", function)


def test_no_samples(make):
  path = make(signal=np.zeros((1, 0), np.float32))
  refused(path, "holds no samples")


@pytest.mark.parametrize(
  "name", ["x.wav", "x.flac", "x.ogg", "x.aiff", "x.au", "x.w64", "x.mp3"]
)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_cut_off(make, name, share):
  path = cut(make(name, noise(1, 10 * RATE)), share)
  refused(path, "is cut off|ends after")
  signal, _ = audio.read(path, allow_truncated=True)
  assert 1000 < signal.shape[1] < 10 * RATE


@pytest.mark.parametrize("name", ["x.wav", "x.flac"])
def test_cut_off_is_found_before_the_work(make, name):
  refused(cut(make(name, noise(1, 10 * RATE)), 0.9), "cut off", audio.info)


def test_wav_headers_that_lie(make):
  path = make(subtype="PCM_16")
  honest = path.read_bytes()
  for size, match in [
    (2 * RATE + 2, "is cut off"),
    (1 << 30, "is cut off"),
    (0xB0000000, "is cut off"),
    (1000, "header is wrong"),
    (0, "header is wrong"),
  ]:
    path.write_bytes(honest[:40] + struct.pack("<I", size) + honest[44:])
    refused(path, match)
  # Stopped before the header was brought up to date, as recorders do.
  stale = struct.pack("<I", 1036) + honest[8:40] + struct.pack("<I", 1000)
  path.write_bytes(honest[:4] + stale + honest[44:])
  refused(path, "header is wrong: 1000 bytes of samples announced, 16000 there")


def test_flac_without_a_length(make):
  path = make("x.flac")
  set_flac_length(path, 0)
  refused(path, "does not say how long it is")


def test_flac_headers_that_lie(make):
  path = make("x.flac")
  set_flac_length(path, 2 * RATE)
  refused(path, "16000 samples announced")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(make, value):
  signal = noise(2)
  signal[1, 2000] = value
  path = make(signal=signal, subtype="FLOAT")
  line = refused(path, "1 samples are NaN or Inf, the first 0.250 s into")
  assert re.search("repair", line)
  blocks = audio.read_blocks(path, block_length=1999)
  assert next(blocks).shape == (2, 1999)
  with pytest.raises(audio.AudioError, match=r"0\.250 s"):
    next(blocks)


def test_damage_in_the_middle(make):
  path = make("x.flac", noise(1, 10 * RATE))
  data = bytearray(path.read_bytes())
  data[len(data) // 2 : len(data) // 2 + 20000] = bytes(20000)
  path.write_bytes(data)
  with pytest.raises(audio.AudioError, match=r"x\.flac: .*(damaged|ends)"):
    audio.read(path)


def test_where_a_file_cannot_be_written(tmp_path):
  samples = noise()
  for name, match, options in [
    ("none/x.wav", "no folder .*none", {}),
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
    ("x.wav", 0, 1, "WAV holds whole rates from 1 to 2147483647 Hz, got 0"),
    ("x.wav", -RATE, 1, "got -8000"),
    ("x.wav", 2**31, 1, "got 2147483648"),
    ("x.flac", 700_000, 1, "FLAC holds whole rates from 1 to 655350 Hz"),
    ("x.flac", 100_003, 1, "above 65535 Hz in steps of 10, got 100003"),
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


def test_nothing_stays_of_a_file_that_cannot_be_opened(tmp_path, monkeypatch):
  def fail(path, *unused, **unused_options):
    path.touch()
    raise soundfile.LibsndfileError(1)

  monkeypatch.setattr(soundfile, "SoundFile", fail)
  with pytest.raises(audio.AudioError, match="cannot be written"):
    audio.Writer(tmp_path / "x.wav", sample_rate_hz=RATE)
  assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_line(tmp_path):
  path = tmp_path / "x.wav"
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
  resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
  try:
    with pytest.raises(audio.AudioError, match="is the disk full") as caught:
      audio.write(path, noise(1, 1 << 20), sample_rate_hz=RATE)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)
  assert "\n" not in str(caught.value)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("function", [audio.read, audio.read_blocks])
@pytest.mark.parametrize("stretch", [{"start": -5}, {"length": -1}])
def test_stretches_before_the_start(make, function, stretch):
  (name,) = stretch
  with pytest.raises(ValueError, match=f"{name} -. must not be neg") as caught:
    list(function(make(), **stretch))
  assert not isinstance(caught.value, audio.AudioError)


@pytest.mark.parametrize("rates", [(0, RATE), (RATE, -1), (RATE, 0)])
def test_rates_to_resample(rates):
  options = {"orig_rate_hz": rates[0], "target_rate_hz": rates[1]}
  for function, given in (
    (audio.resample, noise()),
    (audio.resample_blocks, [noise()]),
  ):
    with pytest.raises(ValueError, match=r"positive whole number of Hz"):
      list(function(given, **options))


def test_channels(unchecked):
  signal = np.float32([[1, 1], [0, 2]])
  np.testing.assert_array_equal(audio.to_mono(signal), [0.5, 1.5])
  np.testing.assert_array_equal(audio.to_mono(signal, channel=1), [0, 2])
  for channel in (2, -1, "left"):
    with pytest.raises(ValueError, match="from 0 to 1"):
      audio.to_mono(signal, channel=channel)


def test_header_cut_off(tmp_path):
  path = tmp_path / "a.wav"
  path.write_bytes(b"RF64\xff\xff\xff\xffWAVEds64\x1c\x00\x00\x00\x00\x00")
  with pytest.raises(audio.AudioError, match="cut off within its header"):
    audio.read(path)
