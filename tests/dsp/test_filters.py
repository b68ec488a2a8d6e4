"""Filters against SciPy's, at the ends and away from them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal as scipy_signal

from jaxsep import dsp

RATE = 8000
LOW = {"band": "lowpass", "cutoff_hz": 300, "sample_rate_hz": RATE}
every_band = pytest.mark.parametrize(
  ("band", "cutoff_hz"),
  [
    ("lowpass", 300),
    ("highpass", 180),
    ("highpass", 3990),
    ("bandstop", (350, 400)),
    ("bandstop", [200.0, 800.0]),
    ("bandpass", (300, 3400)),
  ],
)
every_filter = pytest.mark.parametrize("design", [dsp.butterworth, dsp.fir])


def low(signal, **options):
  return dsp.butterworth(signal, **LOW | options)


@every_band
@pytest.mark.parametrize("order", [1, 8])
def test_butterworth_is_scipys_forwards_and_backwards(
  rng, band, cutoff_hz, order
):
  signal = rng.standard_normal((2, 9000)).astype(np.float32)
  got = low(signal, band=band, cutoff_hz=cutoff_hz, order=order)
  # SciPy's own extension of the ends, made as long as the filter rings.
  sections = scipy_signal.butter(order, cutoff_hz, band, output="sos", fs=RATE)
  expected = scipy_signal.sosfiltfilt(
    sections, signal.astype(np.float64), padlen=6000
  )
  np.testing.assert_allclose(got, expected, atol=5e-5)
  middle = np.s_[:, 3000:-3000]
  np.testing.assert_allclose(got[middle], expected[middle], atol=2e-5)


@every_band
@pytest.mark.parametrize("num_taps", [1025, 65])
def test_fir_is_scipys_window_method(rng, band, cutoff_hz, num_taps):
  signal = rng.standard_normal((2, 3000)).astype(np.float32)
  options = {"band": band, "cutoff_hz": cutoff_hz, "num_taps": num_taps}
  got = dsp.fir(signal, **LOW | options)
  window = "kaiser", scipy_signal.kaiser_beta(60)
  taps = scipy_signal.firwin(
    num_taps, cutoff_hz, window=window, pass_zero=band, fs=RATE
  )
  whole = scipy_signal.convolve(signal.astype(np.float64), taps[None])
  expected = whole[:, num_taps // 2 :][:, :3000]
  np.testing.assert_allclose(got, expected, atol=1e-5)


@every_filter
def test_no_delay_and_six_db_at_the_cutoff(design):
  hertz = np.array([[100], [300], [600]])
  wave = np.sin(2 * np.pi * hertz * np.arange(16000) / RATE).astype(np.float32)
  expected = wave * [[1.0], [0.5], [0.0]]
  middle = np.s_[:, 5000:-5000]
  got = design(wave, **LOW)[middle]
  np.testing.assert_allclose(got, expected[middle], atol=2e-3)


@every_filter
def test_filters_are_linear_and_see_each_signal_alone(rng, design):
  signal = rng.standard_normal((3, 2, 700)).astype(np.float32)
  apply = functools.partial(design, **LOW)
  whole = apply(signal)
  assert whole.shape == signal.shape
  np.testing.assert_allclose(whole[2, 1], apply(signal[2, 1]), atol=1e-5)
  summed = apply(signal[:, 0] + 2 * signal[:, 1])
  np.testing.assert_allclose(summed, whole[:, 0] + 2 * whole[:, 1], atol=1e-5)
  np.testing.assert_allclose(
    apply(signal[..., ::-1]), whole[..., ::-1], atol=1e-5
  )


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


@every_filter
def test_silence_types_and_whole_numbers(rng, unchecked, design):
  apply = jax.jit(functools.partial(design, **LOW))
  np.testing.assert_array_equal(apply(jnp.zeros(100)), 0)
  # Sums are float32, also of fewer bits.
  half = jnp.asarray(rng.standard_normal(100), jnp.bfloat16)
  exact = apply(half.astype(jnp.float32))
  assert apply(half).dtype == jnp.bfloat16
  np.testing.assert_array_equal(apply(half), exact.astype(jnp.bfloat16))
  whole = np.arange(100, dtype=np.int16) % 7
  result = apply(whole)
  assert result.dtype == jnp.float32
  np.testing.assert_array_equal(result, apply(whole.astype(np.float32)))


@pytest.mark.parametrize("number", [np.int64(300), jnp.float32(300)])
def test_numbers_of_numpy_and_jax_are_frequencies(number):
  assert dsp.band_edges("lowpass", number) == (300.0,)
  assert dsp.band_edges("bandpass", np.array([300, 400])) == (300.0, 400.0)
  assert dsp.band_edges("bandpass", (number, 400)) == (300.0, 400.0)


@every_filter
@pytest.mark.parametrize(
  "options", [{}, {"band": "bandstop", "cutoff_hz": (350, 400)}]
)
def test_jit_vmap_and_gradient(rng, design, options):
  signal = rng.standard_normal((4, 600)).astype(np.float32)
  apply = functools.partial(design, **LOW | options)
  expected = apply(signal)
  got = jax.jit(jax.vmap(apply))(signal)
  np.testing.assert_allclose(got, expected, atol=1e-6)
  # A filter is linear: its derivative is itself.
  _, slope = jax.jit(lambda x: jax.jvp(apply, (x,), (x,)))(signal)
  np.testing.assert_allclose(slope, expected, atol=1e-5)
  slope = jax.jit(jax.grad(lambda x: jnp.sum(apply(x) ** 2)))
  assert np.isfinite(slope(signal)).all()
  np.testing.assert_array_equal(slope(np.zeros_like(signal)), 0)


@every_filter
@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"band": "notch"}, "band 'notch' must be one of"),
    ({"cutoff_hz": 0}, "cutoff_hz 0 must be between"),
    ({"cutoff_hz": 4000}, "half the sample rate, 4000"),
    ({"cutoff_hz": float("nan")}, "cutoff_hz nan must be between"),
    ({"cutoff_hz": (300, 400)}, "must be one frequency"),
    ({"cutoff_hz": "high"}, "must be a number or"),
    ({"cutoff_hz": None}, "must be a number or"),
    ({"band": "bandstop", "cutoff_hz": 300}, r"must be \(low, high\)"),
    ({"band": "bandstop", "cutoff_hz": (400, 350)}, "must be ascending"),
    ({"band": "bandstop", "cutoff_hz": (350, 350)}, "must be ascending"),
    ({"band": "bandpass", "cutoff_hz": (350, 4100)}, "half the sample rate"),
    ({"sample_rate_hz": 0}, "sample_rate_hz 0 must be positive"),
  ],
)
def test_bands_that_cannot_be(unchecked, design, options, message):
  with pytest.raises(ValueError, match=message):
    design(np.ones(9, np.float32), **LOW | options)


def test_other_options_that_cannot_be(unchecked):
  with pytest.raises(ValueError, match="order 0 must be at least 1"):
    low(jnp.ones(9), order=0)
  with pytest.raises(ValueError, match="num_taps 64 must be odd"):
    dsp.fir(jnp.ones(9), **LOW, num_taps=64)
  for shape in ((), (2, 0)):
    for design in (dsp.butterworth, dsp.fir):
      with pytest.raises(ValueError, match="at least one sample"):
        design(jnp.zeros(shape), **LOW)
