"""Crops at another rate and speed."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import soxr

from data_pipelines import crops
from data_pipelines.corpora import Corpus


def crop_of(signal, rate_hz, target_rate_hz, asked=None, **options):
  """A crop of a signal in memory; notes what was read of it."""

  def read(path, start, length):
    if asked is not None:
      asked.append((start, length))
    return signal[..., start : start + length]

  corpus = Corpus(["x"], [0], [signal.shape[-1]], [rate_hz], reader=read)
  return crops.read_row(corpus, 0, sample_rate_hz=target_rate_hz, **options)


def tone(num_samples, rate_hz, frequency_hz):
  time = np.arange(num_samples) / rate_hz
  return np.sin(2 * np.pi * frequency_hz * time).astype(np.float32)


def test_crop_equals_the_resampled_recording():
  signal = np.random.default_rng(0).standard_normal(48000).astype(np.float32)
  whole = soxr.resample(signal, 16000, 8000, "HQ")
  # The crop begins at an even sample, so at one of the output.
  share = 10000.5 / (48000 - 12000 + 1)
  crop = crop_of(signal, 16000, 8000, length=6000, share=share)
  np.testing.assert_allclose(crop, whole[5000:11000], atol=1e-3)


def test_speed_moves_the_pitch():
  signal = tone(32000, 16000, 400.0)
  crop = crop_of(signal, 16000, 8000, length=8000, share=0.4, speed=1.1)
  spectrum = np.abs(np.fft.rfft(crop * np.hanning(8000)))
  assert np.argmax(spectrum) == 440


def test_many_channels_are_kept_together():
  signal = np.stack([tone(9000, 44100, f) for f in (300.0, 700.0, 900.0)])
  options = {"length": 2000, "share": 0.3}
  together = crop_of(signal, 44100, 16000, **options)
  assert together.shape == (3, 2000)
  for channel, expected in zip(signal, together, strict=True):
    alone = crop_of(channel, 44100, 16000, **options)
    np.testing.assert_allclose(alone, expected, atol=1e-6)


@hypothesis.settings(deadline=None, max_examples=100)
@hypothesis.given(
  total=st.integers(1, 30000),
  rate_hz=st.sampled_from([7919, 8000, 11025, 16000, 22050, 44100, 48000]),
  target_rate_hz=st.sampled_from([8000, 16000, 22050]),
  speed=st.sampled_from([1.0, 0.9, 1.1, 0.987654321]),
  length=st.integers(1, 9000),
  share=st.floats(0, 1, exclude_max=True),
)
def test_length_and_reads(total, rate_hz, target_rate_hz, speed, length, share):
  asked = []
  signal = np.ones(total, np.float32)
  options = {"length": length, "share": share, "speed": speed}
  crop = crop_of(signal, rate_hz, target_rate_hz, asked, **options)
  ratio = rate_hz * speed / target_rate_hz
  expected = max(min(length, int(total / ratio + 1e-6)), 1)
  assert crop.dtype == np.float32
  assert len(crop) == expected
  assert len(asked) == 1
  # The crop and at most 64 samples of the output on either side.
  assert asked[0][1] <= min(total, length * ratio + 2 * (64 * ratio + 2))
  # Away from the ends of the recording a constant stays what it is.
  if 0 < asked[0][0] and sum(asked[0]) < total:
    np.testing.assert_allclose(crop, 1, atol=0.02)


def test_same_rate_reads_the_crop_and_no_more():
  asked = []
  signal = np.arange(100, dtype=np.float32)
  first, last = (
    crop_of(signal, 8000, 8000, asked, length=10, share=share)
    for share in (0.0, 1 - 1e-12)
  )
  np.testing.assert_array_equal(first, signal[:10])
  np.testing.assert_array_equal(last, signal[-10:])
  assert asked == [(0, 10), (90, 10)]
