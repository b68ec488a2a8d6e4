"""Audio files that are read, and what is done with their samples."""

import struct

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.signal
import soundfile
from noise_signals import RATE, noise

from jaxsep import audio


def resample(signal, orig, target, **options):
  """The whole signal as one block."""
  parts = audio.resample_blocks(
    [signal], orig_rate_hz=orig, target_rate_hz=target, **options
  )
  return np.concatenate([signal[:, :0], *parts], -1)


# Reference.


@pytest.mark.parametrize(
  ("name", "num_channels"),
  [("x.wav", 8), ("x.flac", 2), ("x.ogg", 1), ("x.aiff", 2)],
)
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
  result = resample(signal, 44100, 8000)
  expected = scipy.signal.resample_poly(signal[0], 80, 441)
  assert result.shape == (1, 8000)
  np.testing.assert_allclose(result[0, 99:-99], expected[99:-99], atol=2e-3)


# Laws.


def test_blocks_are_parts_of_the_whole(make):
  path = make("x.flac", noise(2))
  whole, _ = audio.read(path)
  blocks = list(audio.read_blocks(path, block_length=999))
  assert [block.shape[1] for block in blocks] == [999] * 8 + [8]
  np.testing.assert_array_equal(np.concatenate(blocks, -1), whole)


@hypothesis.given(
  length=st.integers(0, 3000),
  cuts=st.lists(st.integers(0, 3000), max_size=5),
  rates=st.tuples(
    st.sampled_from([7919, 8000, 16000, 44100]),
    st.sampled_from([7919, 8000, 16000]),
  ),
)
@hypothesis.settings(deadline=None, max_examples=25)
def test_resampling_in_blocks_equals_whole(length, cuts, rates):
  orig, target = rates
  signal = noise(2, length)
  cuts = sorted(min(cut, length) for cut in cuts)
  blocks = np.split(signal, cuts, axis=-1)
  pieces = audio.resample_blocks(
    blocks, orig_rate_hz=orig, target_rate_hz=target
  )
  whole = resample(signal, orig, target)
  assert whole.shape == (2, -(-length * target // orig))
  streamed = np.concatenate([signal[:, :0], *pieces], -1)
  np.testing.assert_allclose(streamed, whole, atol=1e-6)
  back = resample(whole, target, orig, length=lambda: length)
  assert back.shape == signal.shape


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
def test_ordinary_files(make, signal):
  path = make(signal=signal, rate=7919, subtype="FLOAT")
  result, read_rate = audio.read(path)
  np.testing.assert_array_equal(result, signal)
  assert read_rate == 7919
  resampled, _ = audio.read(path, sample_rate_hz=RATE)
  assert resampled.shape == (len(signal), -(-signal.shape[1] * RATE // 7919))
  assert np.isfinite(resampled).all()


def test_content_counts_not_the_extension(make, tmp_path):
  for name in ("x.wav", "x.raw", "x"):
    path = make("made.flac").rename(tmp_path / name)
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


@pytest.mark.parametrize("rates", [(0, RATE), (RATE, -1), (RATE, 0)])
def test_rates_to_resample(rates):
  with pytest.raises(ValueError, match=r"positive whole number of Hz"):
    resample(noise(), *rates)


def test_channels(unchecked):
  signal = np.float32([[1, 1], [0, 2]])
  np.testing.assert_array_equal(audio.to_mono(signal), [0.5, 1.5])
  np.testing.assert_array_equal(audio.to_mono(signal, channel=1), [0, 2])
  for channel in (2, -1, "left"):
    with pytest.raises(ValueError, match="from 0 to 1"):
      audio.to_mono(signal, channel=channel)
