import numpy as np
import pytest
from scipy import signal as scipy_signal

from jaxsep import dsp


@pytest.mark.parametrize("length", [1, 2, 5, 256, 401])
@pytest.mark.parametrize(
  "name, scipy_name",
  [("hann", "hann"), ("hamming", "hamming"), ("rectangular", "boxcar")],
)
def test_against_scipy(name, scipy_name, length):
  got = dsp.get_window(name, length)
  assert got.dtype == np.float32
  if length == 1:
    # SciPy makes a single sample 1, our formula the start of the period.
    return
  expected = scipy_signal.get_window(scipy_name, length, fftbins=True)
  np.testing.assert_allclose(got, expected, atol=1e-7)


@pytest.mark.parametrize("length", [4, 255, 256])
def test_sqrt_hann_squared_is_hann(length):
  np.testing.assert_allclose(
    dsp.get_window("sqrt_hann", length) ** 2,
    dsp.get_window("hann", length),
    atol=1e-7,
  )


def test_changing_a_window_changes_no_other():
  dsp.get_window("rectangular", 8)[:] = 0.0
  np.testing.assert_array_equal(dsp.get_window("rectangular", 8), np.ones(8))


def test_bad_options_are_named():
  with pytest.raises(ValueError, match="'bartlett' must be one of hann, ham"):
    dsp.get_window("bartlett", 8)
  with pytest.raises(ValueError, match="window of 0 samples"):
    dsp.get_window("hann", 0)
