import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxsep import dsp

FLOATS = st.floats(-10, 10, width=32)


# Reference.


def test_projection_against_least_squares(rng):
  estimate, reference = rng.standard_normal((2, 500)).astype(np.float32)
  (gain,), *_ = np.linalg.lstsq(
    reference[:, None].astype(np.float64), estimate.astype(np.float64)
  )
  np.testing.assert_allclose(
    dsp.projection(estimate, reference), gain * reference, atol=1e-6
  )


@pytest.mark.parametrize("length", [8_000, 500_000])
def test_energy_and_centered_against_float64(rng, length):
  signal = (rng.standard_normal((2, length)) + 3).astype(np.float32)
  wide = signal.astype(np.float64)
  np.testing.assert_allclose(
    dsp.energy(signal), np.sum(wide**2, axis=-1), rtol=1e-6
  )
  np.testing.assert_allclose(
    dsp.centered(signal), wide - wide.mean(-1, keepdims=True), atol=2e-6
  )


# Law.


@settings(deadline=None, derandomize=True, max_examples=30)
@given(
  hnp.arrays(np.float32, (2, 9), elements=FLOATS),
  hnp.arrays(np.float32, (2, 9), elements=FLOATS),
)
def test_projection_leaves_an_orthogonal_rest(estimate, reference):
  target = np.asarray(dsp.projection(estimate, reference), np.float64)
  assert np.all(np.isfinite(target))
  rest = np.sum((estimate - target) * reference, axis=-1)
  size = np.linalg.norm(estimate, axis=-1) * np.linalg.norm(reference, axis=-1)
  power = np.sum(np.square(reference, dtype=np.float64), axis=-1)
  # Below that, the added power takes part of the projection away.
  loud = power > 1e-2
  assert np.all(np.abs(rest[loud]) <= 1e-5 * size[loud] + 1e-6)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(
  hnp.arrays(np.float32, (3,), elements=st.floats(0, 2.0**100, width=32)),
  hnp.arrays(np.float32, (3,), elements=st.floats(0, 2.0**100, width=32)),
)
def test_power_ratio_is_finite_and_antisymmetric(above, below):
  ratio = dsp.power_ratio_db(above, below)
  assert np.all(np.isfinite(ratio))
  np.testing.assert_allclose(ratio, -dsp.power_ratio_db(below, above))


# Edge.


def test_projection_on_silence_is_silence():
  silence, sound = jnp.zeros(4), jnp.ones(4)
  np.testing.assert_array_equal(dsp.projection(sound, silence), np.zeros(4))
  np.testing.assert_array_equal(dsp.projection(silence, sound), np.zeros(4))


def test_power_ratio_of_nothing_is_zero():
  assert dsp.power_ratio_db(jnp.zeros(()), jnp.zeros(())) == 0.0


def test_bfloat16_is_summed_in_float32():
  signal = jnp.full(4096, 0.5, jnp.bfloat16)
  assert dsp.energy(signal) == 1024.0
  assert dsp.projection(signal, signal).dtype == jnp.float32
  assert dsp.centered(signal).dtype == jnp.float32
  assert dsp.at_least_float32(jnp.ones(1, jnp.complex64)).dtype == jnp.complex64


# Transform.


def test_projection_under_jit_and_vmap(rng):
  estimate, reference = rng.standard_normal((2, 3, 4, 50)).astype(np.float32)
  expected = dsp.projection(estimate, reference)
  for transformed in (jax.jit(dsp.projection), jax.vmap(dsp.projection)):
    np.testing.assert_allclose(
      transformed(estimate, reference), expected, atol=1e-6
    )


# Failure.


def test_shapes_must_agree(unchecked):
  with pytest.raises(ValueError, match=r"\(2, 5\) and reference \(2, 6\)"):
    dsp.projection(jnp.ones((2, 5)), jnp.ones((2, 6)))
  with pytest.raises(ValueError, match="need a time axis"):
    dsp.paired(jnp.ones(()), jnp.ones(()))
