import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsep import losses


def spectra(rng, shape=(2, 3, 9, 5)):
  values = rng.standard_normal((2, 2, *shape)).astype(np.float32)
  return values[0, 0] + 1j * values[0, 1], values[1, 0] + 1j * values[1, 1]


# Reference.


@pytest.mark.parametrize(
  ("loss", "values"), [(losses.magnitude_l2, np.abs), (losses.complex_l2, None)]
)
def test_against_numpy(rng, loss, values):
  estimate, reference = spectra(rng)
  one, two = (values(x) if values else x for x in (estimate, reference))
  error = np.abs(one - two) ** 2
  got = loss(estimate, reference)
  assert got.shape == (2, 3) and got.dtype == jnp.float32
  np.testing.assert_allclose(got, error.mean((-2, -1)), rtol=1e-5)
  num_frames = np.array([[9, 4, 1], [2, 8, 3]])
  got = loss(estimate, reference, num_frames=num_frames)
  for i, count in np.ndenumerate(num_frames):
    np.testing.assert_allclose(got[i], error[i][:count].mean(), rtol=1e-5)


# Law.


def test_complex_and_magnitude_are_the_same(rng):
  estimate, reference = spectra(rng)
  np.testing.assert_allclose(
    losses.magnitude_l2(np.abs(estimate), np.abs(reference)),
    losses.magnitude_l2(estimate, reference),
    rtol=1e-5,
  )


def test_phases_do_not_matter(rng):
  estimate, _ = spectra(rng)
  turned = estimate * np.exp(1j * rng.uniform(0, 6, estimate.shape))
  got = losses.magnitude_l2(turned.astype(np.complex64), estimate)
  np.testing.assert_allclose(got, 0.0, atol=1e-10)


# Edge.


@pytest.mark.parametrize("dtype", [jnp.complex64, jnp.float32])
@pytest.mark.parametrize("levels", [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0)])
@pytest.mark.parametrize("loss", [losses.magnitude_l2, losses.complex_l2])
def test_silence_has_finite_gradients(levels, dtype, loss):
  estimate, reference = (jnp.full((3, 4), level, dtype) for level in levels)
  value, slope = jax.value_and_grad(loss)(estimate, reference)
  assert value == float(levels[0] != levels[1])
  assert np.all(np.isfinite(slope))


def test_bfloat16_is_summed_in_float32():
  estimate = jnp.full((300, 10), 2.0, jnp.bfloat16)
  got = losses.magnitude_l2(estimate, jnp.ones((300, 10), jnp.bfloat16))
  assert got.dtype == jnp.float32
  assert got == 1.0


# Transform.


def test_jit_and_vmap(rng):
  estimate, reference = spectra(rng)
  expected = losses.magnitude_l2(estimate, reference)
  for transform in (jax.jit, jax.vmap):
    got = transform(losses.magnitude_l2)(estimate, reference)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


# Failure.


@pytest.mark.parametrize("loss", [losses.magnitude_l2, losses.complex_l2])
def test_shapes_must_agree(unchecked, loss):
  with pytest.raises(ValueError, match=r"\(3, 4\) and reference \(3, 5\)"):
    loss(jnp.ones((3, 4)), jnp.ones((3, 5)))
  with pytest.raises(ValueError, match="frames, bins"):
    loss(jnp.ones(4), jnp.ones(4))
  with pytest.raises(ValueError, match="no frames or no bins"):
    loss(jnp.ones((2, 0, 5)), jnp.ones((2, 0, 5)))
