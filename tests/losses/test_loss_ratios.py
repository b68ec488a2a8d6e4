import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fast_bss_eval import torch as bss_eval

from jaxsep import losses

LOSSES = [
  losses.neg_si_snr,
  losses.neg_si_sdr,
  losses.neg_snr,
  losses.neg_sdr,
]
every_loss = pytest.mark.parametrize(
  "loss", LOSSES, ids=lambda loss: loss.__name__
)


def formula(loss, estimate, reference, threshold_db=None, eps=1e-8):
  """The definition in float64."""
  estimate, reference = estimate.astype(float), reference.astype(float)
  if loss is losses.neg_si_snr:
    estimate = estimate - estimate.mean(-1, keepdims=True)
    reference = reference - reference.mean(-1, keepdims=True)

  def power(signal):
    return np.sum(signal**2, axis=-1)

  gain = np.sum(estimate * reference, -1) / (power(reference) + eps)
  target = gain[..., None] * reference
  above = power(reference if loss is losses.neg_snr else target)
  scaled = loss in (losses.neg_si_snr, losses.neg_si_sdr)
  below = power(estimate - (target if scaled else reference))
  if threshold_db is not None:
    below = below + 10 ** (-threshold_db / 10) * above
  return -10 * np.log10((above + eps) / (below + eps))


def noisy(rng, snr_db, shape=(3, 16_000), offset=0.0):
  """References and estimates at about the given ratio."""
  reference = rng.standard_normal(shape) + offset
  noise = 10 ** (-snr_db / 20) * rng.standard_normal(shape)
  estimate = reference + noise
  return estimate.astype(np.float32), reference.astype(np.float32)


# Reference.


@every_loss
@pytest.mark.parametrize("threshold_db", [None, 30.0])
@pytest.mark.parametrize("snr_db", [-30, 30, 80])
def test_against_float64(rng, loss, snr_db, threshold_db):
  for offset in (0.0, 1.0):
    estimate, reference = noisy(rng, snr_db, offset=offset)
    got = loss(estimate, reference, soft_threshold_db=threshold_db)
    expected = formula(loss, estimate, reference, threshold_db)
    np.testing.assert_allclose(got, expected, atol=0.005)


@pytest.mark.parametrize("length", [100, 2_000_000])
def test_short_and_long_signals_near_exact(rng, length):
  estimate, reference = noisy(rng, 70.0, (1, length))
  estimate = 0.3 * estimate
  for loss in (losses.neg_si_snr, losses.neg_si_sdr):
    expected = formula(loss, estimate, reference)
    got = loss(estimate, reference)
    np.testing.assert_allclose(got, expected, atol=0.01)


@pytest.mark.parametrize("zero_mean", [True, False])
def test_against_fast_bss_eval(rng, zero_mean):
  import torch

  estimate, reference = noisy(rng, 12.0, offset=0.3)
  estimate = 2.0 * estimate + 0.1
  expected = bss_eval.si_sdr(
    torch.tensor(reference)[:, None].double(),
    torch.tensor(estimate)[:, None].double(),
    zero_mean=zero_mean,
  )
  loss = losses.neg_si_snr if zero_mean else losses.neg_si_sdr
  np.testing.assert_allclose(
    -loss(estimate, reference), expected[:, 0], atol=1e-3
  )


# Law.


@pytest.mark.parametrize("loss", [losses.neg_si_snr, losses.neg_si_sdr])
@pytest.mark.parametrize("gain", [1e-2, -3.0, 50.0])
def test_a_gain_changes_nothing(rng, loss, gain):
  estimate, reference = noisy(rng, 10.0)
  for threshold_db in (None, 8.0):
    expected = loss(estimate, reference, soft_threshold_db=threshold_db)
    got = loss(
      np.float32(gain) * estimate, reference, soft_threshold_db=threshold_db
    )
    np.testing.assert_allclose(got, expected, atol=1e-3)


def test_only_si_snr_ignores_an_offset(rng):
  estimate, reference = noisy(rng, 10.0)
  for loss in LOSSES:
    change = np.abs(loss(estimate + 0.5, reference) - loss(estimate, reference))
    if loss is losses.neg_si_snr:
      assert change.max() < 1e-3
    else:
      assert change.min() > 1.0


def test_scale_counts_in_snr_and_sdr():
  reference = jnp.ones((1, 100))
  half = 0.5 * reference
  assert losses.neg_snr(half, reference) == pytest.approx(-6.02, abs=0.01)
  # Half the distortion of silence, and half the signal too.
  assert losses.neg_sdr(half, reference) == pytest.approx(0.0, abs=0.01)
  assert losses.neg_sdr(1.5 * reference, reference) == pytest.approx(
    -9.54, abs=0.01
  )


def test_a_silent_reference_is_compared_with_the_mixture(rng):
  mixture, reference = noisy(rng, 10.0)
  silent = np.zeros_like(mixture)
  estimate = np.float32(0.1) * mixture
  options = dict(mixture=mixture, soft_threshold_db=30.0)
  got = losses.neg_snr(estimate, silent, **options)
  np.testing.assert_allclose(got, -20 + 10 * np.log10(1.1), atol=1e-3)
  # The level of everything does not matter, and silence is best.
  options["mixture"] = 10 * mixture
  louder = losses.neg_snr(10 * estimate, silent, **options)
  np.testing.assert_allclose(louder, got, atol=1e-3)
  best = losses.neg_snr(silent, silent, **options)
  np.testing.assert_allclose(best, -30.0, atol=1e-3)
  # What is not silent is compared with the reference as ever.
  got = losses.neg_snr(estimate, reference, mixture=mixture)
  np.testing.assert_array_equal(got, losses.neg_snr(estimate, reference))


@every_loss
def test_the_threshold_is_where_the_loss_levels_out(rng, loss):
  _, reference = noisy(rng, 0.0)
  exact = loss(reference, reference, soft_threshold_db=20)
  np.testing.assert_allclose(exact, -20.0, atol=1e-3)
  estimate, reference = noisy(rng, 20.0)
  got = loss(estimate, reference, soft_threshold_db=20.0)
  np.testing.assert_allclose(got, -20.0 + 3.01, atol=0.2)


# Edge.


@every_loss
@pytest.mark.parametrize("threshold_db", [None, 30.0])
@pytest.mark.parametrize(
  "case",
  ["zero_reference", "zero_estimate", "both", "exact", "constant"],
)
def test_value_and_gradients_are_finite(rng, loss, case, threshold_db):
  estimate, reference = noisy(rng, 5.0, (1000,))
  if case in ("zero_reference", "both"):
    reference = np.zeros_like(reference)
  if case in ("zero_estimate", "both"):
    estimate = np.zeros_like(estimate)
  if case == "exact":
    estimate = reference
  if case == "constant":
    estimate = reference = np.ones_like(reference)
  value, slopes = jax.value_and_grad(
    lambda *signals: loss(*signals, soft_threshold_db=threshold_db),
    argnums=(0, 1),
  )(estimate, reference)
  assert np.isfinite(value)
  for slope in slopes:
    assert np.all(np.isfinite(slope))


@every_loss
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_samples_are_seen_in_their_example_only(rng, loss, bad):
  estimate, reference = noisy(rng, 5.0, (3, 100))
  expected = loss(estimate, reference)
  estimate[1, 50] = bad
  got = np.asarray(loss(estimate, reference))
  assert not np.isfinite(got[1])
  np.testing.assert_allclose(got[[0, 2]], expected[np.array([0, 2])], rtol=1e-5)


@every_loss
def test_bfloat16_is_summed_in_float32(rng, loss):
  signals = [jnp.asarray(x, jnp.bfloat16) for x in noisy(rng, 10.0)]
  got = loss(*signals)
  assert got.dtype == jnp.float32
  wide = [np.asarray(x, np.float32) for x in signals]
  np.testing.assert_allclose(got, formula(loss, *wide), atol=1e-3)


@every_loss
def test_eps_bounds_the_loss(loss):
  signal = jnp.array([1.0, -1.0])
  got = loss(signal, signal, eps=1e-2)
  assert got == pytest.approx(-10 * np.log10(2.01 / 0.01), abs=0.1)


# Transform.


@every_loss
def test_jit_vmap_and_batching(rng, loss):
  estimate, reference = noisy(rng, 5.0, (2, 3, 400))
  expected = loss(estimate, reference)
  assert expected.shape == (2, 3)
  for transform in (jax.jit, jax.vmap):
    got = transform(loss)(estimate, reference)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
  single = loss(estimate[1, 2], reference[1, 2])
  np.testing.assert_allclose(single, expected[1, 2], rtol=1e-5)


@every_loss
def test_gradient_against_differences(rng, loss):
  estimate, reference = noisy(rng, 5.0, (30,))
  direction = rng.standard_normal(30).astype(np.float32)
  slope = jax.grad(loss)(estimate, reference) @ direction
  step = 1e-5
  expected = (
    formula(loss, estimate + step * direction.astype(float), reference)
    - formula(loss, estimate - step * direction.astype(float), reference)
  ) / (2 * step)
  np.testing.assert_allclose(slope, expected, rtol=1e-3, atol=1e-4)


# Failure.


@every_loss
def test_shapes_must_agree(loss, unchecked):
  with pytest.raises(ValueError, match=r"\(2, 5\) and reference \(2, 6\)"):
    loss(jnp.ones((2, 5)), jnp.ones((2, 6)))
  # Nothing broadcasts by accident.
  with pytest.raises(ValueError, match="must have the same shape"):
    loss(jnp.ones((2, 5)), jnp.ones((1, 5)))


def test_a_mixture_of_another_shape_is_refused(unchecked):
  signals = jnp.ones((2, 3, 40))
  for shape in [(2, 3, 10), (2, 40), (3, 40)]:
    with pytest.raises(ValueError, match=r"mixture \(.*must have the shape"):
      losses.neg_snr(signals, signals, mixture=jnp.ones(shape))
