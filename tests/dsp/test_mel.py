"""Mel filterbanks."""

import librosa
import numpy as np
import pytest

from jaxsep import dsp


@pytest.mark.parametrize(
  ("rate", "n_fft", "low", "high"),
  [(16000, 512, 0.0, None), (8000, 256, 20.0, 3700.0)],
)
def test_equals_librosa(rate, n_fft, low, high):
  """Those of librosa, on HTK's scale and with a peak of one."""
  filters = dsp.mel_filterbank(
    80, n_fft=n_fft, sample_rate_hz=rate, low_hz=low, high_hz=high
  )
  expected = librosa.filters.mel(
    sr=rate, n_fft=n_fft, n_mels=80, fmin=low, fmax=high, htk=True, norm=None
  )
  np.testing.assert_allclose(filters, expected.T, atol=1e-6)


def test_no_filter_of_the_separation_paper_is_empty():
  """80 filters, 512 samples, 16 kHz: rank 78, DC in none of them."""
  filters = dsp.mel_filterbank(80, n_fft=512, sample_rate_hz=16000)
  assert (filters.max(axis=0) > 0).all()
  assert (filters > 0).sum(axis=0).tolist().count(1) == 3
  assert not filters[0].any()
  assert np.linalg.matrix_rank(filters) == 78


def test_straight_over_mel():
  """Between two centres, neighbours add up to one on either scale."""
  filters = dsp.mel_filterbank(
    20, n_fft=1024, sample_rate_hz=8000, linear_in="mel"
  )
  mel = 2595 * np.log10(1 + np.arange(513) * 8000 / 1024 / 700)
  edges = np.linspace(0, mel[-1], 22)
  inside = (mel >= edges[1]) & (mel <= edges[-2])
  np.testing.assert_allclose(filters.sum(axis=1)[inside], 1, atol=1e-5)
  expected = np.interp(mel, edges[4:7], [0, 1, 0], left=0, right=0)
  np.testing.assert_allclose(filters[:, 4], expected, atol=1e-5)


def test_symmetric_filters_fall_as_they_rise():
  filters = dsp.mel_filterbank(
    6, n_fft=512, sample_rate_hz=8000, symmetric=True
  )
  edges = 700 * (10 ** (np.linspace(0, 2146.06453, 8) / 2595) - 1)
  hertz = np.arange(257) * 8000 / 512
  for band in range(6):
    low, center = edges[band : band + 2]
    ends = [low, center, 2 * center - low]
    expected = np.interp(hertz, ends, [0, 1, 0], left=0, right=0)
    np.testing.assert_allclose(filters[:, band], expected, atol=1e-5)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"high_hz": 5000.0}, "half the sample rate, 4000 Hz"),
    ({"low_hz": 4000.0}, "from 4000 to 4000"),
    ({"num_mels": 0}, "num_mels must be positive"),
    ({"linear_in": "bark"}, "'hz' or 'mel'"),
  ],
)
def test_refuses(options, message):
  """Impossible filters."""
  options = {"num_mels": 8, "n_fft": 256, "sample_rate_hz": 8000.0} | options
  with pytest.raises(ValueError, match=message):
    dsp.mel_filterbank(options.pop("num_mels"), **options)
