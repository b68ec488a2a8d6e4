"""SNR, SI-SDR and SI-SNR."""

import fast_bss_eval
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxsep import metrics

RATIOS = [metrics.snr, metrics.si_sdr, metrics.si_snr]


def pair(shape=(4, 2, 900), seed=0):
  rng = np.random.default_rng(seed)
  reference = rng.standard_normal(shape)
  estimate = 0.5 * reference + 0.2 * rng.standard_normal(shape)
  return estimate.astype(np.float32), reference.astype(np.float32)


# Reference.


def test_closed_form():
  # A signal and a noise that are orthogonal and without a mean.
  time = np.arange(800)
  signal, noise = np.sin(time * np.pi / 10), np.cos(time * np.pi / 10)
  estimate = 0.5 * signal + 0.05 * noise + 0.2
  scores = [ratio(jnp.array(estimate), jnp.array(signal)) for ratio in RATIOS]
  wanted = [
    10 * np.log10(0.5 / (0.5 * (0.5**2 + 0.05**2) + 0.2**2)),
    10 * np.log10(0.5 * 0.5**2 / (0.5 * 0.05**2 + 0.2**2)),
    20 * np.log10(0.5 / 0.05),
  ]
  np.testing.assert_allclose(scores, wanted, atol=1e-3)


@pytest.mark.parametrize("centered", [False, True])
def test_fast_bss_eval(centered):
  estimate, reference = pair((4, 1, 900))
  estimate = estimate + 0.1
  ours = (metrics.si_snr if centered else metrics.si_sdr)(estimate, reference)
  theirs, _ = fast_bss_eval.si_sdr(
    reference.astype(np.float64),
    estimate.astype(np.float64),
    zero_mean=centered,
    return_perm=True,
  )
  np.testing.assert_allclose(ours, theirs, atol=1e-3)


# Law.


@pytest.mark.parametrize("gain", [-1.0, 0.01, 100.0])
def test_what_a_gain_changes(gain):
  estimate, reference = pair()
  for ratio in (metrics.si_sdr, metrics.si_snr):
    np.testing.assert_allclose(
      ratio(gain * estimate, reference), ratio(estimate, reference), atol=1e-3
    )
  np.testing.assert_allclose(
    metrics.snr(gain * estimate, gain * reference),
    metrics.snr(estimate, reference),
    atol=1e-3,
  )
  assert np.all(
    np.abs(
      metrics.snr(gain * estimate, reference) - metrics.snr(estimate, reference)
    )
    > 0.1
  )


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("gain", [1e-20, 1e-4, 1e15])
def test_level_of_the_recording_changes_nothing(ratio, gain):
  # From 20 dB to what float32 resolves.
  rng = np.random.default_rng(2)
  reference = 0.1 * rng.standard_normal((4, 800))
  noise = 0.1 * rng.standard_normal(reference.shape)
  level = 10.0 ** -(np.array([[0.0], [20.0], [60.0], [80.0]]) / 20)
  estimate = np.float32(reference + level * noise)
  reference = np.float32(reference)
  gain = np.float32(gain)
  quiet = [gain * estimate, gain * reference]
  wanted = ratio(estimate, reference)
  np.testing.assert_allclose(ratio(*quiet), wanted, atol=0.01)

  def mean(estimate, reference):
    return jnp.mean(ratio(estimate, reference))

  plain = jax.grad(mean, (0, 1))(estimate, reference)
  scaled = jax.grad(mean, (0, 1))(*quiet)
  for ours, theirs in zip(scaled, plain, strict=True):
    # Of the sensible rows: at 80 dB the direction is that of the rounding.
    ours, theirs = gain * np.asarray(ours)[:3], np.asarray(theirs)[:3]
    peak = np.abs(theirs).max(-1, keepdims=True)
    np.testing.assert_allclose(ours / peak, theirs / peak, atol=0.01)


@pytest.mark.parametrize("ratio", RATIOS)
def test_gradient_is_the_slope(ratio):
  # The level counts as a constant in the derivative, and may.
  estimate, reference = (1e-3 * x[0, 0, :30] for x in pair())
  direction = 1e-3 * np.random.default_rng(3).standard_normal((2, 30))
  with jax.enable_x64(True):
    point = (np.float64(estimate), np.float64(reference))
    _, slope = jax.jvp(ratio, point, tuple(direction))
    ahead, behind = (
      ratio(point[0] + step * direction[0], point[1] + step * direction[1])
      for step in (1e-5, -1e-5)
    )
    np.testing.assert_allclose(slope, (ahead - behind) / 2e-5, rtol=1e-5)


@pytest.mark.parametrize("ratio", [metrics.si_sdr, metrics.si_snr])
@pytest.mark.parametrize("gain", [1.0, 1e-4])
def test_silent_estimate_is_worse_than_any_other(ratio, gain):
  rng = np.random.default_rng(4)
  reference, other = np.float32(gain * rng.standard_normal((2, 500)))
  poor = ratio(other + 0.02 * reference, reference)
  assert -60.0 < poor < 0.0
  assert ratio(np.zeros_like(reference), reference) == -150.0


# Edge.


@pytest.mark.parametrize("ratio", RATIOS)
def test_silence_and_exactness_have_finite_values_and_gradients(ratio):
  sound = np.random.default_rng(1).standard_normal(50).astype(np.float32)
  silence = np.zeros_like(sound)
  for estimate in (sound, silence):
    for reference in (sound, silence):
      value, gradient = jax.value_and_grad(ratio)(estimate, reference)
      assert np.isfinite(value)
      assert np.isfinite(gradient).all()
  assert 100 < ratio(sound, sound) < 150.01
  for gain in (1e-11, 1e-6, 1.0, 1e30):
    assert ratio(np.float32(gain) * sound, silence) == -150.0
  assert ratio(silence, silence) == -150.0
  # Without a scale that is free, all of the reference is missing.
  wanted = 0.0 if ratio is metrics.snr else -150.0
  np.testing.assert_allclose(ratio(silence, sound), wanted, atol=1e-4)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("gain", [1e-37, 1e-24, 1e30])
def test_any_level_has_finite_gradients(ratio, gain):
  sound, other = np.random.default_rng(5).standard_normal((2, 50))
  sound, other = sound.astype(np.float32), other.astype(np.float32)
  extreme = np.float32(gain) * sound
  for estimate in (extreme, sound, np.zeros_like(sound)):
    for reference in (extreme, other, np.zeros_like(sound)):
      value, gradients = jax.value_and_grad(ratio, (0, 1))(estimate, reference)
      assert -150.0 <= value < 150.01
      assert np.isfinite(gradients).all()


@pytest.mark.parametrize("time", [5, 100_003])
def test_constant_is_silence_once_centered(time):
  # 0.1 has no exact mean: what rounding leaves must not count as a signal.
  constant = np.full(time, 0.1, np.float32)
  sound = np.random.default_rng(6).standard_normal(time).astype(np.float32)
  pairs = [(constant, sound), (sound, constant), (constant, 3 * constant)]
  for estimate, reference in pairs:
    assert metrics.si_snr(estimate, reference) == -150.0


def test_offset_hides_no_faint_signal():
  # One step of 16 bits on an offset of half the range.
  rng = np.random.default_rng(7)
  reference = (rng.integers(-1, 2, 900) / 2**15).astype(np.float32)
  estimate = reference + np.float32(0.5)
  assert metrics.si_snr(estimate, reference) > 30.0


@pytest.mark.parametrize("ratio", RATIOS)
def test_low_precision_is_summed_in_float32(ratio):
  estimate, reference = (jnp.asarray(x, jnp.bfloat16) for x in pair())
  score = ratio(estimate, reference)
  assert score.dtype == jnp.float32
  wide = ratio(estimate.astype(jnp.float32), reference.astype(jnp.float32))
  np.testing.assert_allclose(score, wide, atol=1e-4)


@pytest.mark.parametrize("ratio", RATIOS)
def test_nan_is_no_silence_where_it_is_compiled(ratio):
  # XLA's maximum on a CPU ignores NaN, depending on the shape.
  sound = np.random.default_rng(9).standard_normal((2, 3000))
  nothing = np.full_like(sound, np.nan)
  padded = np.where(np.arange(3000) == 7, np.nan, 0.0) * np.ones((2, 1))
  for bad in (nothing, padded):
    for pair_ in ((bad, sound), (sound, bad)):
      assert np.isnan(jax.jit(ratio)(*np.float32(pair_))).all()


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_nan_and_leaves_other_rows_alone(ratio, bad):
  # A number, however low, would be taken for the result of an evaluation.
  sound, other = np.random.default_rng(8).standard_normal((2, 50))
  spoilt = np.where(np.arange(50) == 7, bad, sound)
  silence = np.zeros(50)
  rows = [
    (spoilt, other),
    (other, spoilt),
    (spoilt, silence),
    (silence, spoilt),
    (spoilt, spoilt),
    (sound, other),
  ]
  estimate, reference = np.float32(np.stack(rows, axis=1))
  scores = ratio(estimate, reference)
  assert np.isnan(scores[:-1]).all()
  np.testing.assert_allclose(
    scores[-1], ratio(estimate[-1], reference[-1]), rtol=1e-5
  )


# Transform.


@pytest.mark.parametrize("ratio", RATIOS)
def test_jit_vmap_and_sharding_change_nothing(ratio):
  estimate, reference = pair((8, 2, 100))
  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  place = NamedSharding(mesh, PartitionSpec("data"))
  shards = jax.device_put((estimate, reference), place)
  plain = ratio(estimate, reference)
  for other in (
    jax.vmap(jax.vmap(ratio))(estimate, reference),
    jax.jit(ratio)(*shards),
  ):
    np.testing.assert_allclose(other, plain, rtol=1e-5)


# Failure.


@pytest.mark.parametrize("ratio", RATIOS)
def test_shapes_must_agree(unchecked, ratio):
  with pytest.raises(ValueError, match=r"\(2, 8\) and reference \(2, 9\)"):
    ratio(jnp.ones((2, 8)), jnp.ones((2, 9)))
