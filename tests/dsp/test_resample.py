import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal as scipy_signal

from jaxsep import dsp


@pytest.mark.parametrize(
  "orig_rate_hz, target_rate_hz",
  [
    (16000, 8000),
    (8000, 16000),
    (44100, 16000),
    (48000, 44100),
    (7919, 8000),
    # Small factors of every kind.
    (60, 7),
    (7, 60),
    (5, 1),
  ],
)
def test_rates_against_scipy(rng, orig_rate_hz, target_rate_hz):
  signal = rng.standard_normal((2, 8001)).astype(np.float32)
  got = dsp.resample(
    signal, orig_rate_hz=orig_rate_hz, target_rate_hz=target_rate_hz
  )
  divisor = math.gcd(orig_rate_hz, target_rate_hz)
  up, down = target_rate_hz // divisor, orig_rate_hz // divisor
  num_taps, cutoff = 2 * 64 * max(up, down) + 1, 0.95 / max(up, down)
  taps = scipy_signal.firwin(num_taps, cutoff, window=("kaiser", 9.0))
  expected = scipy_signal.resample_poly(
    signal.astype(np.float64), up, down, window=taps, axis=-1
  )
  assert got.shape == expected.shape
  np.testing.assert_allclose(got, expected, atol=5e-6)


@pytest.mark.parametrize("target_rate_hz", [8000, 11025, 48000])
def test_tones_keep_level_and_phase_or_vanish(target_rate_hz):
  hertz = np.array([[0.0], [3500.0], [4100.0]])

  def tones(rate_hz):
    return np.cos(2 * np.pi * hertz * np.arange(rate_hz) / rate_hz)

  wave = tones(16000).astype(np.float32)
  got = dsp.resample(wave, orig_rate_hz=16000, target_rate_hz=target_rate_hz)
  # What lies above the new band vanishes.
  expected = tones(target_rate_hz) * (hertz < target_rate_hz / 2)
  middle = np.s_[:, target_rate_hz // 4 : -target_rate_hz // 4]
  np.testing.assert_allclose(got[middle], expected[middle], atol=1e-4)


@pytest.mark.parametrize("length", [0, 1, 2])
def test_short_signals(length):
  got = dsp.resample(jnp.ones(length), orig_rate_hz=8, target_rate_hz=12)
  assert got.shape == (-(-length * 3 // 2),)
  assert np.all(np.isfinite(got))


def test_equal_rates_change_nothing_and_types_stay(unchecked):
  whole = np.arange(100, dtype=np.int16) % 7
  half = jnp.asarray(whole, jnp.bfloat16)
  got = dsp.resample(half, orig_rate_hz=7919, target_rate_hz=7919)
  np.testing.assert_array_equal(got, half)
  rates = {"orig_rate_hz": 8000, "target_rate_hz": 16000}
  assert got.dtype == dsp.resample(half, **rates).dtype == jnp.bfloat16
  # Whole numbers are resampled as floats.
  expected = dsp.resample(whole.astype(np.float32), **rates)
  np.testing.assert_array_equal(dsp.resample(whole, **rates), expected)


def test_taps_do_not_grow_with_the_factors():
  # 7919 and 8000 have no common divisor; only 400 outputs are wanted.
  rates = {"orig_rate_hz": 7919, "target_rate_hz": 8000}
  apply = jax.jit(lambda signal: dsp.resample(signal, **rates))
  sizes = apply.lower(jnp.ones(396)).compile().memory_analysis()
  assert sizes.temp_size_in_bytes + sizes.generated_code_size_in_bytes < 2e6


@pytest.mark.parametrize("rates", [(16000, 8000), (7919, 8000)])
def test_resample_under_jit_grad_and_vmap(rng, rates):
  signal = rng.standard_normal((3, 900)).astype(np.float32)

  def resample(signal):
    return dsp.resample(signal, orig_rate_hz=rates[0], target_rate_hz=rates[1])

  expected = resample(signal)
  got = jax.jit(jax.vmap(resample))(signal)
  np.testing.assert_allclose(got, expected, atol=1e-5)
  # Linear: the gradient of a product with a direction is the transpose.
  direction = rng.standard_normal(expected.shape).astype(np.float32)
  slope = jax.vjp(resample, signal)[1](direction)[0]
  np.testing.assert_allclose(
    np.sum(slope * signal), np.sum(expected * direction), rtol=1e-4
  )


@pytest.mark.parametrize("rate_hz", [0, -8000, 8000.5])
def test_bad_rates_are_named(unchecked, rate_hz):
  with pytest.raises(ValueError, match=f"sample rate {rate_hz} must be"):
    dsp.resample(jnp.ones(8), orig_rate_hz=8000, target_rate_hz=rate_hz)
