import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxsep import dsp

FLOATS = st.floats(-100, 100, width=32)


def rms64(signal):
  return np.sqrt(np.mean(np.square(signal.astype(np.float64)), axis=-1))


# Reference.


@pytest.mark.parametrize("level_db", [-120.0, -6.0, 0.0, 0.5, 40.0])
def test_db_to_amplitude_against_librosa(level_db):
  expected = librosa.db_to_amplitude(np.array([level_db]))
  got = dsp.db_to_amplitude(jnp.array([level_db]))
  np.testing.assert_allclose(got, expected, rtol=2e-6)


def test_to_db_against_librosa(rng):
  values = np.abs(rng.standard_normal((3, 50))).astype(np.float32)
  np.testing.assert_allclose(
    dsp.power_to_db(values), librosa.power_to_db(values, top_db=None), atol=1e-4
  )
  np.testing.assert_allclose(
    dsp.amplitude_to_db(-values),
    librosa.amplitude_to_db(values, top_db=None),
    atol=1e-4,
  )


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_rms_against_float64(rng, offset):
  signal = (rng.standard_normal((2, 3, 80_000)) + offset).astype(np.float32)
  np.testing.assert_allclose(dsp.rms(signal), rms64(signal), rtol=1e-6)


# Law.


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.floats(-110, 110))
def test_db_and_back(level_db):
  amplitude = dsp.db_to_amplitude(level_db)
  assert dsp.amplitude_to_db(amplitude) == pytest.approx(level_db, abs=1e-3)
  assert (
    dsp.power_to_db(amplitude**2) == pytest.approx(level_db, abs=1e-3)
    or level_db < -55
  )


@settings(deadline=None, derandomize=True, max_examples=30)
@given(
  hnp.arrays(np.float32, (2, 2, 7), elements=FLOATS),
  hnp.arrays(np.float32, (2, 2, 5), elements=FLOATS),
  st.floats(-40, 40),
)
def test_gain_for_snr_makes_the_snr(signal, noise, snr_db):
  gain = np.asarray(dsp.gain_for_snr(signal, noise, snr_db=snr_db))
  scaled = rms64(noise * gain[..., None])
  loud = (rms64(signal) > 1e-6) & (rms64(noise) > 1e-6)
  ratio = 20 * np.log10(rms64(signal)[loud] / scaled[loud])
  np.testing.assert_allclose(ratio, snr_db, atol=1e-3)
  assert np.all(np.isfinite(gain))


def test_gain_for_snr_takes_one_ratio_per_example(rng):
  signal = rng.standard_normal((2, 3, 40)).astype(np.float32)
  snr_db = np.arange(6, dtype=np.float32).reshape(2, 3)
  stacked = dsp.gain_for_snr(signal, signal[..., :30], snr_db=snr_db)
  single = dsp.gain_for_snr(signal[1, 2], signal[1, 2, :30], snr_db=5)
  assert stacked.shape == (2, 3)
  np.testing.assert_allclose(stacked[1, 2], single, rtol=1e-6)


# Edge.


def test_silence_has_the_floor_and_no_slope():
  assert dsp.amplitude_to_db(0.0) == -120.0
  assert dsp.power_to_db(0.0, floor_db=-80) == pytest.approx(-80.0)
  assert jax.grad(dsp.amplitude_to_db)(0.0) == 0.0
  assert jax.grad(dsp.power_to_db)(0.0) == 0.0
  assert dsp.db_to_amplitude(-jnp.inf) == 0.0


def test_rms_of_silence_has_a_finite_gradient():
  value, slope = jax.value_and_grad(dsp.rms)(jnp.zeros(8))
  assert value == 0.0
  np.testing.assert_array_equal(slope, np.zeros(8))


def test_rms_keeps_nan():
  assert np.isnan(dsp.rms(jnp.array([1.0, jnp.nan])))


@pytest.mark.parametrize("silent", ["signal", "noise", "both"])
def test_gain_for_snr_on_silence_is_zero(silent):
  signal = jnp.zeros(8) if silent in ("signal", "both") else jnp.ones(8)
  noise = jnp.zeros(8) if silent in ("noise", "both") else jnp.ones(8)

  def gain(signal, noise):
    return dsp.gain_for_snr(signal, noise, snr_db=3.0)

  assert gain(signal, noise) == 0.0
  for slope in jax.grad(gain, argnums=(0, 1))(signal, noise):
    assert np.all(np.isfinite(slope))


def test_rms_of_bfloat16_sums_in_float32():
  signal = jnp.full(4096, 0.5, jnp.bfloat16)
  assert dsp.rms(signal).dtype == jnp.float32
  assert dsp.rms(signal) == 0.5


@pytest.mark.parametrize("convert", [dsp.amplitude_to_db, dsp.power_to_db])
@pytest.mark.parametrize("floor_db", [-120.0, -500, -1000.0])
def test_silence_has_the_floor_however_low(convert, floor_db):
  values = jnp.array([0.0, 1.0, jnp.nan])
  level = convert(values, floor_db=floor_db)
  np.testing.assert_allclose(level, [floor_db, 0.0, np.nan], atol=1e-6)
  slope = jax.grad(lambda x: convert(x, floor_db=floor_db))(0.0)
  assert slope == 0


# Transform.


def test_levels_under_jit_and_vmap(rng):
  signal = rng.standard_normal((4, 100)).astype(np.float32)
  noise = rng.standard_normal((4, 100)).astype(np.float32)

  def gain(signal, noise):
    return dsp.gain_for_snr(signal, noise, snr_db=6.0)

  expected = gain(signal, noise)
  np.testing.assert_allclose(jax.jit(gain)(signal, noise), expected, rtol=1e-6)
  np.testing.assert_allclose(jax.vmap(gain)(signal, noise), expected, rtol=1e-6)
