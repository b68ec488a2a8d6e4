"""Filters against SciPy's, at the ends and away from them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal as scipy_signal

from jaxsep import dsp

RATE = 8000
BANDS = [
  ("lowpass", 300),
  ("highpass", 180),
  ("highpass", 3990),
  ("bandstop", (350, 400)),
  ("bandstop", [200.0, 800.0]),
  ("bandpass", (300, 3400)),
]


def sections(band, cutoff_hz, order=8):
  return scipy_signal.butter(order, cutoff_hz, band, output="sos", fs=RATE)


def low(signal, **options):
  options = {"band": "lowpass", "cutoff_hz": 300} | options
  return dsp.butterworth(signal, sample_rate_hz=RATE, **options)


# Reference.


@pytest.mark.parametrize(("band", "cutoff_hz"), BANDS)
@pytest.mark.parametrize("order", [1, 8])
def test_butterworth_is_scipys_forwards_and_backwards(
  rng, band, cutoff_hz, order
):
  signal = rng.standard_normal((2, 24000)).astype(np.float32)
  got = low(signal, band=band, cutoff_hz=cutoff_hz, order=order)
  expected = scipy_signal.sosfiltfilt(
    sections(band, cutoff_hz, order), signal.astype(np.float64)
  )
  inside = slice(6000, -6000)
  np.testing.assert_allclose(got[:, inside], expected[:, inside], atol=2e-5)


@pytest.mark.parametrize(("band", "cutoff_hz"), BANDS)
def test_butterworth_is_scipys_also_at_the_ends(rng, band, cutoff_hz):
  # With SciPy's own extension, made as long as the filter rings.
  signal = rng.standard_normal(9000).astype(np.float32)
  got = low(signal, band=band, cutoff_hz=cutoff_hz)
  expected = scipy_signal.sosfiltfilt(
    sections(band, cutoff_hz), signal.astype(np.float64), padlen=6000
  )
  np.testing.assert_allclose(got, expected, atol=5e-5)


@pytest.mark.parametrize(("band", "cutoff_hz"), BANDS)
@pytest.mark.parametrize("num_taps", [1025, 65])
def test_fir_is_scipys_window_method(rng, band, cutoff_hz, num_taps):
  signal = rng.standard_normal((2, 3000)).astype(np.float32)
  got = dsp.fir(
    signal,
    band=band,
    cutoff_hz=cutoff_hz,
    sample_rate_hz=RATE,
    num_taps=num_taps,
  )
  window = "kaiser", scipy_signal.kaiser_beta(60)
  taps = scipy_signal.firwin(
    num_taps, cutoff_hz, window=window, pass_zero=band, fs=RATE
  )
  for row, filtered in zip(signal.astype(np.float64), got, strict=True):
    whole = np.convolve(row, taps)
    middle = whole[num_taps // 2 :][:3000]
    np.testing.assert_allclose(filtered, middle, atol=1e-5)


# Law.


def test_no_delay_and_six_db_at_the_cutoff():
  time = np.arange(16000) / RATE
  middle = slice(5000, -5000)
  for hertz, gain in ((100, 1.0), (300, 0.5), (600, 0.0)):
    wave = np.sin(2 * np.pi * hertz * time).astype(np.float32)
    for filtered in (
      low(wave),
      dsp.fir(wave, band="lowpass", cutoff_hz=300, sample_rate_hz=RATE),
    ):
      np.testing.assert_allclose(
        filtered[middle], gain * wave[middle], atol=2e-3
      )


@pytest.mark.parametrize("method", ["butterworth", "fir"])
def test_filters_are_linear_and_see_each_signal_alone(rng, method):
  signal = rng.standard_normal((3, 2, 700)).astype(np.float32)

  def apply(x):
    if method == "fir":
      return dsp.fir(x, band="highpass", cutoff_hz=700, sample_rate_hz=RATE)
    return low(x)

  whole = apply(signal)
  assert whole.shape == signal.shape
  np.testing.assert_allclose(whole[2, 1], apply(signal[2, 1]), atol=1e-5)
  summed = apply(signal[:, 0] + 2 * signal[:, 1])
  np.testing.assert_allclose(summed, whole[:, 0] + 2 * whole[:, 1], atol=1e-5)
  np.testing.assert_allclose(
    apply(signal[..., ::-1]), whole[..., ::-1], atol=1e-5
  )


# Edge.


@pytest.mark.parametrize("length", [1, 2, 100])
def test_any_length_comes_back(length):
  signal = np.linspace(0, 1, length, dtype=np.float32) + 0.5
  for filtered in (
    low(signal),
    low(signal, band="bandstop", cutoff_hz=(350, 400)),
    dsp.fir(signal, band="highpass", cutoff_hz=700, sample_rate_hz=RATE),
  ):
    assert filtered.shape == (length,)
    assert np.isfinite(filtered).all()
    assert np.abs(filtered).max() > 0
  # A constant has no frequency but zero.
  constant = jnp.full(length, 3.0)
  np.testing.assert_allclose(low(constant), 3.0, rtol=1e-5)
  high = low(constant, band="highpass", cutoff_hz=180)
  np.testing.assert_allclose(high, 0.0, atol=1e-5)


def test_silence_stays_silent_with_finite_gradients():
  silent = jnp.zeros(50)
  for apply in (
    low,
    lambda x: dsp.fir(x, band="lowpass", cutoff_hz=300, sample_rate_hz=RATE),
  ):
    np.testing.assert_array_equal(apply(silent), 0)
    assert np.isfinite(jax.grad(lambda x, f=apply: jnp.sum(f(x)))(silent)).all()


def test_type_is_kept_and_sums_are_float32(rng):
  signal = jnp.asarray(rng.standard_normal(400), jnp.bfloat16)
  exact = low(signal.astype(jnp.float32))
  assert low(signal).dtype == jnp.bfloat16
  np.testing.assert_array_equal(low(signal), exact.astype(jnp.bfloat16))


@pytest.mark.parametrize("number", [np.int64(300), jnp.float32(300)])
def test_numbers_of_numpy_and_jax_are_frequencies(number):
  assert dsp.band_edges("lowpass", number) == (300.0,)
  assert dsp.band_edges("bandpass", np.array([300, 400])) == (300.0, 400.0)
  assert dsp.band_edges("bandpass", (number, 400)) == (300.0, 400.0)


def test_whole_numbers_are_filtered_as_floats(unchecked):
  signal = np.arange(100, dtype=np.int16) % 7
  band = {"band": "lowpass", "cutoff_hz": 300, "sample_rate_hz": RATE}
  for apply in (
    lambda x: dsp.butterworth(x, **band),
    lambda x: dsp.fir(x, **band, num_taps=65),
  ):
    result = apply(signal)
    assert result.dtype == jnp.float32
    np.testing.assert_array_equal(result, apply(signal.astype(np.float32)))


# Transform.


def test_jit_vmap_and_gradient(rng):
  signal = rng.standard_normal((4, 600)).astype(np.float32)
  for apply in (low, lambda x: low(x, band="bandstop", cutoff_hz=(350, 400))):
    expected = apply(signal)
    np.testing.assert_allclose(jax.jit(apply)(signal), expected, atol=1e-6)
    np.testing.assert_allclose(jax.vmap(apply)(signal), expected, atol=1e-6)
    # A filter is linear: its derivative is itself.
    _, slope = jax.jvp(apply, (signal,), (signal,))
    np.testing.assert_allclose(slope, expected, atol=1e-5)
    slope = jax.grad(lambda x, f=apply: jnp.sum(f(x) ** 2))(signal)
    assert np.isfinite(slope).all()


# Failure.


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"band": "notch"}, "band 'notch' must be one of lowpass, highpass"),
    ({"cutoff_hz": 0}, "cutoff_hz 0 must be between 0 and half the sample"),
    ({"cutoff_hz": 4000}, "half the sample rate, 4000, ends excluded"),
    ({"cutoff_hz": float("nan")}, "cutoff_hz nan must be between 0"),
    ({"cutoff_hz": (300, 400)}, "of a lowpass must be one frequency"),
    ({"band": "bandstop", "cutoff_hz": 300}, r"must be \(low, high\)"),
    ({"band": "bandstop", "cutoff_hz": (400, 350)}, "must be ascending"),
    ({"band": "bandstop", "cutoff_hz": (350, 350)}, "must be ascending"),
    ({"band": "bandpass", "cutoff_hz": (350, 4100)}, "between 0 and half"),
    ({"sample_rate_hz": 0}, "sample_rate_hz 0 must be positive"),
  ],
)
def test_bands_that_cannot_be(options, message):
  good = {"band": "lowpass", "cutoff_hz": 300, "sample_rate_hz": RATE}
  for design in (
    lambda **options: dsp.butterworth(np.ones(9, np.float32), **options),
    lambda **options: dsp.fir(np.ones(9, np.float32), **options),
  ):
    with pytest.raises(ValueError, match=message):
      design(**good | options)


def test_other_options_that_cannot_be(unchecked):
  signal = np.ones(9, np.float32)
  for cutoff in ("high", None):
    with pytest.raises(ValueError, match=r"must be a number or \(low, high\)"):
      low(signal, cutoff_hz=cutoff)
  band = {"band": "lowpass", "cutoff_hz": 300, "sample_rate_hz": RATE}
  with pytest.raises(ValueError, match="order 0 must be at least 1"):
    low(signal, order=0)
  with pytest.raises(ValueError, match="num_taps 64 must be odd"):
    dsp.fir(signal, **band, num_taps=64)
  for shape in ((), (2, 0)):
    empty = np.zeros(shape, np.float32)
    for apply in (
      low,
      lambda x: dsp.fir(x, **band),
    ):
      with pytest.raises(ValueError, match="one sample at least"):
        apply(empty)
