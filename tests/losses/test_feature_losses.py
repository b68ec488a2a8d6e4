"""Losses on features of spectra, and on hidden representations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsep import dsp, losses

MEL = dsp.mel_filterbank(6, n_fft=32, sample_rate_hz=8000)
FORMS = {
  "fro": lambda error: np.sqrt((error**2).sum()),
  "mse": lambda error: (error**2).sum() / len(error),
}


def spectra(rng, shape=(2, 3, 9, 17)):
  values = rng.standard_normal((2, 2, *shape)).astype(np.float32)
  return values[0, 0] + 1j * values[0, 1], values[1, 0] + 1j * values[1, 1]


# Reference.


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mel", [None, MEL], ids=["spectrum", "mel"])
def test_features_against_numpy(rng, form, mel):
  estimate, reference = spectra(rng)
  error = np.abs(estimate) - np.abs(reference)
  error = error if mel is None else error @ mel
  options = {"mel": mel, "form": form}
  got = losses.feature_l2(estimate, reference, **options)
  assert got.shape == (2, 3) and got.dtype == jnp.float32
  num_frames = np.array([[9, 4, 1], [2, 8, 3]])
  short = losses.feature_l2(
    estimate, reference, num_frames=num_frames, **options
  )
  for i, count in np.ndenumerate(num_frames):
    np.testing.assert_allclose(got[i], FORMS[form](error[i]), rtol=1e-5)
    expected = FORMS[form](error[i][:count])
    np.testing.assert_allclose(short[i], expected, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_layers_against_numpy(rng, form):
  student = rng.standard_normal((2, 3, 5, 4)).astype(np.float32)
  teacher = rng.standard_normal((6, 3, 5, 4)).astype(np.float32)
  num_frames = np.array([5, 2, 3])
  got = losses.layer_distillation(
    student, teacher, layer_map=(1, 5), num_frames=num_frames, form=form
  )
  for b, count in enumerate(num_frames):
    pairs = zip(student[:, b, :count], teacher[[1, 5], b, :count], strict=True)
    expected = sum(FORMS[form](one - other) for one, other in pairs)
    np.testing.assert_allclose(got[b], expected, rtol=1e-5)


# Law.


def test_mel_has_no_gradient_in_the_dc_bin(rng):
  """Masks of this bin stay as they began, unless the model sees to it."""
  estimate, reference = map(np.abs, spectra(rng, (9, 17)))
  slope = jax.grad(losses.feature_l2)(estimate, reference, mel=MEL)
  assert not np.asarray(slope[:, 0]).any()
  assert np.asarray(slope[:, 1:-1]).any(axis=0).all()


def test_teachers_are_not_taught(rng):
  hidden = rng.standard_normal((2, 4, 3)).astype(np.float32)
  slope = jax.grad(losses.layer_distillation, argnums=1)(
    0.5 * hidden, hidden, layer_map=(0, 1)
  )
  assert not np.asarray(slope).any()


# Edge.


@pytest.mark.parametrize("form", FORMS)
def test_exact_and_silent_estimates_have_finite_gradients(form):
  for level in (0.0, 1.0):
    same = jnp.full((4, 17), level)
    for loss in (
      lambda x, y: losses.feature_l2(x, y, mel=MEL, form=form),
      lambda x, y: losses.layer_distillation(
        x[None], y[None], layer_map=[0], form=form
      ),
    ):
      value, slope = jax.value_and_grad(loss)(same, same)
      assert value == 0 and not np.asarray(slope).any()
  # No frame is valid.
  nothing = losses.feature_l2(
    jnp.ones((2, 4, 17)), jnp.zeros((2, 4, 17)), num_frames=jnp.zeros(2, int)
  )
  assert not np.asarray(nothing).any()


# Failure.


def test_what_does_not_fit(unchecked):
  ones = jnp.ones((4, 17))
  with pytest.raises(ValueError, match="form 'l1' must be 'fro' or 'mse'"):
    losses.feature_l2(ones, ones, form="l1")
  with pytest.raises(ValueError, match=r"one row for each of the 17 bins"):
    losses.feature_l2(ones, ones, mel=MEL[:5])
  hidden = jnp.ones((2, 4, 3))
  for layers in ((0,), (0, 2), (0, -1)):
    with pytest.raises(ValueError, match="one of the teacher's 2 layers for"):
      losses.layer_distillation(hidden, hidden, layer_map=layers)
  with pytest.raises(ValueError, match="must agree in all but"):
    losses.layer_distillation(hidden, hidden[..., :2], layer_map=(0, 1))
