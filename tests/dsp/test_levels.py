import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsep import dsp


def test_decibels_against_numpy(rng):
  values = np.abs(rng.standard_normal(50)).astype(np.float32)
  level = 20 * np.log10(values.astype(np.float64))
  np.testing.assert_allclose(dsp.amplitude_to_db(-values), level, atol=1e-4)
  np.testing.assert_allclose(
    dsp.db_to_amplitude(level.astype(np.float32)), values, rtol=2e-6
  )


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_rms_against_float64(rng, offset):
  signal = (rng.standard_normal((2, 3, 80_000)) + offset).astype(np.float32)
  power = np.mean(np.square(signal.astype(np.float64)), axis=-1)
  np.testing.assert_allclose(dsp.rms(signal), np.sqrt(power), rtol=1e-6)


@pytest.mark.parametrize("floor_db", [-120.0, -1000.0])
def test_silence_has_the_floor_and_no_slope(floor_db):
  def level(amplitude):
    return dsp.amplitude_to_db(amplitude, floor_db=floor_db)

  levels = level(jnp.array([0.0, 1.0, jnp.nan]))
  np.testing.assert_allclose(levels, [floor_db, 0.0, np.nan], atol=1e-6)
  assert jax.grad(level)(0.0) == 0.0
  assert dsp.db_to_amplitude(-jnp.inf) == 0.0


def test_rms_of_silence_has_no_slope_and_nan_stays():
  value, slope = jax.value_and_grad(dsp.rms)(jnp.zeros(8))
  assert value == 0.0
  np.testing.assert_array_equal(slope, 0)
  assert np.isnan(dsp.rms(jnp.array([1.0, jnp.nan])))


def test_rms_of_bfloat16_sums_in_float32():
  signal = jnp.full(4096, 0.5, jnp.bfloat16)
  assert dsp.rms(signal).dtype == jnp.float32
  assert dsp.rms(signal) == 0.5
