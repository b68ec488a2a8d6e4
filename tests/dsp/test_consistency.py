import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsep import dsp


def test_equal_shares_are_the_least_squares_projection(rng):
  estimate = rng.standard_normal((3, 7)).astype(np.float32)
  mixture = rng.standard_normal(7).astype(np.float32)
  # Minimal change under the constraint that each column sums to the mixture.
  ones = np.ones((1, 3))
  change = np.linalg.pinv(ones) @ (mixture - estimate.sum(0))[None]
  np.testing.assert_allclose(
    dsp.mixture_consistency(estimate, mixture), estimate + change, atol=1e-6
  )


def test_consistent_estimates_stay(rng):
  estimate = rng.standard_normal((2, 3, 50)).astype(np.float32)
  got = dsp.mixture_consistency(estimate, estimate.sum(1))
  np.testing.assert_allclose(got, estimate, atol=1e-6)


def test_only_proportions_of_weights_matter(rng):
  estimate = rng.standard_normal((2, 2, 9)).astype(np.float32)
  mixture = rng.standard_normal((2, 9)).astype(np.float32)
  weights = np.array([[1.0, 3.0], [0.0, 2.0]], np.float32)
  got = dsp.mixture_consistency(estimate, mixture, weights=weights)
  np.testing.assert_allclose(np.sum(got, axis=1), mixture, atol=1e-5)
  error = mixture - estimate.sum(1)
  np.testing.assert_allclose(
    got[0, 1] - estimate[0, 1], 0.75 * error[0], atol=1e-6
  )
  np.testing.assert_array_equal(got[1, 0], estimate[1, 0])
  for other in (7.0 * weights, weights / 16.0):
    np.testing.assert_allclose(
      dsp.mixture_consistency(estimate, mixture, weights=other), got, atol=1e-6
    )


def test_weights_of_zero_are_equal_shares():
  estimate, mixture = jnp.zeros((2, 4)), jnp.ones(4)

  def consistent(weights):
    return dsp.mixture_consistency(estimate, mixture, weights=weights)

  np.testing.assert_array_equal(consistent(jnp.zeros(2)), 0.5)
  slope = jax.jit(jax.grad(lambda weights: jnp.sum(consistent(weights) ** 2)))
  assert np.all(np.isfinite(slope(jnp.zeros(2))))


def test_types_jit_and_vmap(rng):
  estimate = rng.standard_normal((4, 2, 9)).astype(np.float32)
  mixture = rng.standard_normal((4, 9)).astype(np.float32)
  expected = dsp.mixture_consistency(estimate, mixture)
  half = dsp.mixture_consistency(estimate.astype(jnp.bfloat16), mixture)
  assert half.dtype == jnp.bfloat16
  got = jax.jit(jax.vmap(dsp.mixture_consistency))(estimate, mixture)
  np.testing.assert_allclose(got, expected, atol=1e-6)


def test_bad_shapes_are_named(unchecked):
  with pytest.raises(ValueError, match=r"mixture \(5,\)"):
    dsp.mixture_consistency(jnp.ones((2, 4)), jnp.ones(5))
  with pytest.raises(ValueError, match=r"weights \(3,\)"):
    dsp.mixture_consistency(jnp.ones((2, 4)), jnp.ones(4), weights=jnp.ones(3))
