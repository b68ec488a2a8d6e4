import numpy as np
import pytest
from scipy import signal as scipy_signal

from jaxsep import dsp


@pytest.mark.parametrize("length", [2, 5, 256, 401])
@pytest.mark.parametrize(
  "name, scipy_name, power",
  [
    ("hann", "hann", 1),
    ("hamming", "hamming", 1),
    ("rectangular", "boxcar", 1),
    ("sqrt_hann", "hann", 2),
  ],
)
def test_against_scipy(name, scipy_name, power, length):
  got = dsp.get_window(name, length)
  assert got.dtype == np.float32
  expected = scipy_signal.get_window(scipy_name, length, fftbins=True)
  np.testing.assert_allclose(got**power, expected, atol=1e-7)


def test_a_single_sample_is_the_start_of_the_period():
  # SciPy makes it 1.
  assert dsp.get_window("hann", 1) == [0]


def test_changing_a_window_changes_no_other():
  dsp.get_window("rectangular", 8)[:] = 0.0
  np.testing.assert_array_equal(dsp.get_window("rectangular", 8), 1)


def test_bad_options_are_named():
  with pytest.raises(ValueError, match="'bartlett' must be one of"):
    dsp.get_window("bartlett", 8)
  with pytest.raises(ValueError, match="window of 0 samples"):
    dsp.get_window("hann", 0)
