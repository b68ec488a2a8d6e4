import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsep import dsp


def test_projection_against_least_squares(rng):
  estimate, reference = rng.standard_normal((2, 500)).astype(np.float32)
  (gain,), *_ = np.linalg.lstsq(
    reference[:, None].astype(np.float64), estimate.astype(np.float64)
  )
  np.testing.assert_allclose(
    dsp.projection(estimate, reference), gain * reference, atol=1e-6
  )


@pytest.mark.parametrize("length", [8_000, 300_000])
def test_energy_and_centered_against_float64(rng, length):
  signal = (rng.standard_normal((2, length)) + 3).astype(np.float32)
  wide = signal.astype(np.float64)
  np.testing.assert_allclose(
    dsp.energy(signal), np.sum(wide**2, axis=-1), rtol=1e-6
  )
  np.testing.assert_allclose(
    dsp.centered(signal), wide - wide.mean(-1, keepdims=True), atol=2e-6
  )


def test_centered_is_zero_past_the_length():
  centered = dsp.centered(jnp.array([1.0, 3.0, 0.0]), jnp.array(2))
  np.testing.assert_array_equal(centered, [-1, 1, 0])


def test_projection_on_silence_is_silence():
  silence, sound = jnp.zeros(4), jnp.ones(4)
  np.testing.assert_array_equal(dsp.projection(sound, silence), np.zeros(4))
  np.testing.assert_array_equal(dsp.projection(silence, sound), np.zeros(4))


def test_power_ratio_is_finite_and_antisymmetric():
  above, below = jnp.array([[0.0, 3.0, 2.0**100], [0.0, 0.0, 1.0]])
  ratio = dsp.power_ratio_db(above, below)
  assert np.all(np.isfinite(ratio)) and ratio[0] == 0
  np.testing.assert_allclose(ratio, -dsp.power_ratio_db(below, above))


def test_bfloat16_is_summed_in_float32():
  signal = jnp.full(4096, 0.5, jnp.bfloat16)
  assert dsp.energy(signal) == 1024.0
  assert dsp.projection(signal, signal).dtype == jnp.float32
  assert dsp.centered(signal).dtype == jnp.float32
  assert dsp.at_least_float32(jnp.ones(1, jnp.complex64)).dtype == jnp.complex64


def test_projection_under_jit_and_vmap(rng):
  estimate, reference = rng.standard_normal((2, 3, 4, 50)).astype(np.float32)
  expected = dsp.projection(estimate, reference)
  got = jax.jit(jax.vmap(dsp.projection))(estimate, reference)
  np.testing.assert_allclose(got, expected, atol=1e-6)


def test_shapes_must_agree(unchecked):
  with pytest.raises(ValueError, match=r"reference \(2, 6\)"):
    dsp.projection(jnp.ones((2, 5)), jnp.ones((2, 6)))
  with pytest.raises(ValueError, match="need a time axis"):
    dsp.paired(jnp.ones(()), jnp.ones(()))
