import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal as scipy_signal

from jaxsep import dsp

# Reference.


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
  longest = max(up, down)
  taps = scipy_signal.firwin(
    2 * 64 * longest + 1, 0.95 / longest, window=("kaiser", 9.0)
  )
  expected = scipy_signal.resample_poly(
    signal.astype(np.float64), up, down, window=taps, axis=-1
  )
  assert got.shape == expected.shape
  np.testing.assert_allclose(got, expected, atol=5e-6)


# Law.


@pytest.mark.parametrize("frequency_hz", [0.0, 3500.0])
@pytest.mark.parametrize("target_rate_hz", [8000, 11025, 48000])
def test_tones_keep_level_and_phase(frequency_hz, target_rate_hz):
  def tone(rate_hz):
    return np.cos(2 * np.pi * frequency_hz * np.arange(rate_hz) / rate_hz)

  got = dsp.resample(
    tone(16000).astype(np.float32),
    orig_rate_hz=16000,
    target_rate_hz=target_rate_hz,
  )
  middle = slice(target_rate_hz // 4, -target_rate_hz // 4)
  expected = tone(target_rate_hz)
  np.testing.assert_allclose(got[middle], expected[middle], atol=1e-4)


def test_tones_above_the_new_band_vanish():
  tone = np.sin(2 * np.pi * 4100 * np.arange(16000) / 16000)
  got = dsp.resample(
    tone.astype(np.float32), orig_rate_hz=16000, target_rate_hz=8000
  )
  assert np.abs(got[1000:-1000]).max() < 1e-4


# Edge.


@pytest.mark.parametrize("length", [0, 1, 2])
def test_short_signals(length):
  got = dsp.resample(jnp.ones(length), orig_rate_hz=8, target_rate_hz=12)
  assert got.shape == (-(-length * 3 // 2),)
  assert np.all(np.isfinite(got))


def test_equal_rates_change_nothing(rng):
  signal = rng.standard_normal(50).astype(np.float32)
  got = dsp.resample(signal, orig_rate_hz=7919, target_rate_hz=7919)
  np.testing.assert_array_equal(got, signal)


def test_types_stay():
  signal = jnp.ones(80, jnp.bfloat16)
  got = dsp.resample(signal, orig_rate_hz=16, target_rate_hz=8)
  assert got.dtype == jnp.bfloat16


def test_taps_do_not_grow_with_the_factors():
  # 7919 and 8000 have no common divisor; only 400 outputs are wanted.
  code = jax.jit(
    lambda signal: dsp.resample(signal, orig_rate_hz=7919, target_rate_hz=8000)
  ).lower(jnp.ones(396))
  sizes = code.compile().memory_analysis()
  assert sizes.temp_size_in_bytes + sizes.generated_code_size_in_bytes < 2e6


def test_whole_numbers_are_resampled_as_floats(unchecked):
  signal = np.arange(100, dtype=np.int16) % 7
  rates = {"orig_rate_hz": 8000, "target_rate_hz": 16000}
  result = dsp.resample(signal, **rates)
  expected = dsp.resample(signal.astype(np.float32), **rates)
  np.testing.assert_array_equal(result, expected)


# Transform.


@pytest.mark.parametrize("rates", [(16000, 8000), (7919, 8000)])
def test_resample_under_jit_grad_and_vmap(rng, rates):
  signal = rng.standard_normal((3, 900)).astype(np.float32)

  def resample(signal):
    return dsp.resample(signal, orig_rate_hz=rates[0], target_rate_hz=rates[1])

  expected = resample(signal)
  for transform in (jax.jit, jax.vmap):
    np.testing.assert_allclose(transform(resample)(signal), expected, atol=1e-5)
  # Linear: the gradient of a product with a direction is the transpose.
  direction = rng.standard_normal(expected.shape).astype(np.float32)
  slope = jax.grad(lambda signal: jnp.sum(resample(signal) * direction))(signal)
  np.testing.assert_allclose(
    np.sum(slope * signal), np.sum(expected * direction), rtol=1e-4
  )


# Failure.


@pytest.mark.parametrize("rate_hz", [0, -8000, 8000.5])
def test_bad_rates_are_named(unchecked, rate_hz):
  with pytest.raises(ValueError, match=f"sample rate {rate_hz} must be"):
    dsp.resample(jnp.ones(8), orig_rate_hz=8000, target_rate_hz=rate_hz)
