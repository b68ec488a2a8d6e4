"""BSS-eval against closed forms, mir_eval and fast_bss_eval."""

import fast_bss_eval
import jax
import jax.numpy as jnp
import mir_eval
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxsep import metrics


def colored(rng, shape):
  """Noise with the slope of speech: 40 dB from 500 Hz to 4 kHz."""
  noise = np.fft.rfft(rng.standard_normal(shape))
  frequency = np.linspace(0, 8, noise.shape[-1])
  signal = np.fft.irfft(noise * (1 + frequency**2) ** -1.1, shape[-1])
  return signal / signal.std()


def judge(estimate, reference, **options):
  """SDR, SIR, SAR and permutation by fast_bss_eval in float64."""
  return fast_bss_eval.bss_eval_sources(
    np.asarray(reference, np.float64),
    np.asarray(estimate, np.float64),
    **options,
  )


def in_db(power_ratio):
  return 10 * np.log10(power_ratio)


# Reference.


@pytest.mark.parametrize("num_sources", [1, 2, 3])
def test_closed_form_without_filters(num_sources):
  # An orthonormal family: each estimate is a reference, a known share of all
  # others and of noise.
  rng = np.random.default_rng(0)
  vectors = np.linalg.qr(rng.standard_normal((400, 2 * num_sources)))[0].T
  reference, noise = vectors[:num_sources], vectors[num_sources:]
  leak, hiss = 0.3, 0.1
  others = reference.sum(0) - reference
  estimate = reference + leak * others + hiss * noise
  sdr, sir, sar = metrics.bss_eval(
    estimate.astype(np.float32), reference.astype(np.float32), filter_length=1
  )
  interference = leak**2 * (num_sources - 1)
  np.testing.assert_allclose(
    sdr, in_db(1 / (interference + hiss**2)), atol=1e-3
  )
  np.testing.assert_allclose(
    sar, in_db((1 + interference) / hiss**2), atol=1e-3
  )
  if num_sources > 1:
    np.testing.assert_allclose(sir, in_db(1 / interference), atol=1e-3)
  else:
    assert (sir > 140).all()


@pytest.mark.parametrize("filter_length", [16, 512])
def test_closed_form_with_filters(filter_length):
  # Sources that never sound within one filter length of each other span
  # orthogonal spaces, and so the energies of an estimate are known.
  rng = np.random.default_rng(1)
  block, gap = 200, filter_length + 200
  reference = np.zeros((2, 3 * gap + block))
  reference[0, :block] = rng.standard_normal(block)
  reference[1, gap : gap + block] = rng.standard_normal(block)
  noise = np.zeros(reference.shape)
  noise[:, 2 * gap + filter_length :][:, :block] = rng.standard_normal(block)
  taps = rng.standard_normal((2, 2, filter_length)) * 0.1
  images = np.zeros((2, *reference.shape))
  for i in range(2):
    for j in range(2):
      full = np.convolve(reference[j], taps[i, j])
      images[i, j] = full[: reference.shape[1]]
  estimate = images.sum(1) + 0.05 * noise
  own = np.array([np.sum(images[i, i] ** 2) for i in range(2)])
  other = np.array([np.sum(images[i, 1 - i] ** 2) for i in range(2)])
  rest = np.sum((0.05 * noise) ** 2, -1)
  ratios = metrics.bss_eval(
    estimate.astype(np.float32),
    reference.astype(np.float32),
    filter_length=filter_length,
  )
  for ours, ratio in zip(
    ratios,
    (own / (other + rest), own / other, (own + other) / rest),
    strict=True,
  ):
    np.testing.assert_allclose(ours, in_db(ratio), atol=5e-3)


# It announces that it will drop the module.
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_mir_eval():
  rng = np.random.default_rng(1)
  reference = rng.standard_normal((2, 1600))
  noise = rng.standard_normal(reference.shape)
  estimate = (reference + 0.2 * reference[::-1] + 0.1 * noise)[::-1]
  *theirs, their_permutation = mir_eval.separation.bss_eval_sources(
    reference, estimate
  )
  *ours, permutation = metrics.bss_eval_permuted(
    estimate.astype(np.float32), reference.astype(np.float32)
  )
  np.testing.assert_allclose(ours, theirs, atol=2e-3)
  np.testing.assert_array_equal(permutation, their_permutation)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_mir_eval_where_the_system_is_near_singular():
  rng = np.random.default_rng(0)
  reference = colored(rng, (2, 8000))
  reference[1] = reference[0] + 10 ** (-50 / 20) * reference[1]
  estimate = reference + 0.1 * colored(rng, reference.shape)
  reference, estimate = np.float32(reference), np.float32(estimate)
  sdr, _, sar = mir_eval.separation.bss_eval_sources(
    reference, estimate, compute_permutation=False
  )[:3]
  ours = metrics.bss_eval(estimate, reference)
  np.testing.assert_allclose(ours[0], sdr, atol=1.0)
  np.testing.assert_allclose(ours[2], sar, atol=1.0)
  assert np.isfinite(ours[1]).all()


def test_colored_signals_of_any_quality():
  rng = np.random.default_rng(2)
  reference = colored(rng, (1, 2, 8000))
  leak, hiss = reference[:, ::-1], rng.standard_normal(reference.shape)
  smeared = np.stack(
    [np.convolve(r, [0.0, 0.3, 1.0, -0.5, 0.2])[:8000] for r in reference[0]]
  )[None]
  estimate = np.concatenate(
    [
      reference + 0.2 * leak + 0.05 * hiss,
      smeared + 0.1 * leak + 0.01 * hiss,
      np.tanh(reference) + 0.5 * leak,
      reference.sum(1, keepdims=True) + 0.1 * reference + 1e-3 * hiss,
      reference[:, ::-1] + 0.1 * hiss,
      -1e-4 * reference + 1e-5 * hiss,
    ]
  ).astype(np.float32)
  reference = np.broadcast_to(reference, estimate.shape).astype(np.float32)
  taps = {"filter_length": 256}
  *ours, permutation = metrics.bss_eval_permuted(estimate, reference, **taps)
  *theirs, their_permutation = judge(estimate, reference, **taps)
  np.testing.assert_allclose(ours, theirs, atol=1e-2)
  np.testing.assert_array_equal(permutation, their_permutation)


def test_near_perfection_in_float32():
  # Where a difference of float32 powers ends in NaN, at about 70 dB.
  rng = np.random.default_rng(4)
  reference = colored(rng, (1, 2, 8000)).astype(np.float32)
  level = 10.0 ** -(np.array([40, 60, 80, 100]) / 20).reshape(-1, 1, 1)
  noise = colored(rng, (4, 2, 8000))
  estimate = (0.7 * (reference + level * noise)).astype(np.float32)
  reference = np.broadcast_to(reference, estimate.shape)
  (sdr, sir, sar), theirs = (
    metrics.bss_eval(estimate, reference),
    judge(estimate, reference),
  )
  np.testing.assert_allclose(sdr, theirs[0], atol=1e-2)
  np.testing.assert_allclose(sar, theirs[2], atol=1e-2)
  np.testing.assert_allclose(sir, theirs[1], atol=0.2)


# Law.


def test_every_permutation_is_found_and_undone():
  rng = np.random.default_rng(6)
  reference = rng.standard_normal((3, 400)).astype(np.float32)
  estimate = reference + 0.2 * rng.standard_normal(reference.shape)
  estimate = estimate.astype(np.float32)
  orders = np.array(
    [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
  )
  *ratios, permutation = metrics.bss_eval_permuted(
    np.stack([estimate[order] for order in orders]),
    np.broadcast_to(reference, (6, 3, 400)),
    filter_length=8,
  )
  np.testing.assert_array_equal(permutation, np.argsort(orders, -1))
  for values in ratios:
    np.testing.assert_allclose(values, np.stack([values[0]] * 6), atol=1e-3)


def test_the_order_is_that_of_the_best_sir():
  """The best SDR would choose the other order."""
  rng = np.random.default_rng(0)
  first, second, noise = rng.standard_normal((3, 2000)).astype(np.float32)
  reference = np.stack([first, second])
  estimate = np.stack([first + 0.7 * second, 1.7 * first + second + 5 * noise])
  *_, permutation = metrics.bss_eval_permuted(
    estimate, reference, filter_length=2
  )
  np.testing.assert_array_equal(permutation, [1, 0])


@pytest.mark.parametrize("gain", [1e-12, -1e3])
def test_scale_changes_nothing(gain):
  rng = np.random.default_rng(7)
  reference = rng.standard_normal((2, 500)).astype(np.float32)
  estimate = reference + 0.3 * rng.standard_normal(reference.shape)
  estimate = estimate.astype(np.float32)
  plain = metrics.bss_eval(estimate, reference, filter_length=8)
  scaled = metrics.bss_eval(
    np.float32(gain) * estimate, reference / np.float32(gain), filter_length=8
  )
  np.testing.assert_allclose(scaled, plain, atol=1e-3)


# Edge.


def test_exact_scaled_delayed_and_filtered_estimates_are_high_and_finite():
  rng = np.random.default_rng(8)
  reference = colored(rng, (2, 4000)).astype(np.float32)
  reference[:, -100:] = 0
  delayed = np.roll(reference, 31, -1)
  smeared = np.stack([np.convolve(r, [1, -0.4, 0.1])[:4000] for r in reference])
  estimate = np.stack([reference, -0.3 * reference, delayed, smeared])
  ratios = np.stack(
    metrics.bss_eval(
      estimate.astype(np.float32), np.broadcast_to(reference, estimate.shape)
    )
  )
  assert np.isfinite(ratios).all()
  assert (ratios[:, :2] > 100).all()
  assert (ratios[:, 2:] > 75).all()


def test_silence_is_finite():
  rng = np.random.default_rng(9)
  sound = rng.standard_normal((2, 500)).astype(np.float32)
  silence = np.zeros_like(sound)
  half = np.stack([sound[0], silence[0]])
  pairs = [(sound, half), (half, sound), (half, half), (silence, sound)]
  pairs += [(sound, silence), (silence, silence)]
  estimate, reference = (np.stack(part) for part in zip(*pairs, strict=True))
  ratios = np.stack(metrics.bss_eval(estimate, reference, filter_length=8))
  assert np.isfinite(ratios).all()
  # Nothing of a silent reference is there.
  assert ratios[0, 0, 1] == -150 and ratios[1, 0, 1] < -120
  assert (ratios[:, 2, 0] > 100).all()  # The other one is exact.
  # No estimate at all is as bad as it gets, whatever the reference.
  np.testing.assert_array_equal(ratios[:, [3, 5]], -150.0)
  np.testing.assert_array_equal(ratios[:, [1, 2], 1], -150.0)
  *_, permutation = metrics.bss_eval_permuted(
    estimate[:, ::-1], reference, filter_length=8
  )
  np.testing.assert_array_equal(permutation[2], [1, 0])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_nan_and_leaves_other_rows_alone(bad):
  score = metrics.bss_eval_permuted
  sound, other = np.random.default_rng(16).standard_normal((2, 2, 300))
  spoilt = sound.copy()
  spoilt[1, 7] = bad
  silence = np.zeros_like(sound)
  rows = [(spoilt, other), (other, spoilt), (spoilt, silence), (sound, other)]
  estimate, reference = np.float32(np.stack(rows, axis=1))
  ratios = np.stack(score(estimate, reference, filter_length=4)[:3])
  # All references share one system: one that is spoilt spoils every ratio.
  assert np.isnan(ratios[:, 1]).all()
  # A spoilt estimate spoils its own.
  assert np.isnan(ratios[:, [0, 2]]).any(-1).all()
  wanted = score(estimate[-1], reference[-1], filter_length=4)[:3]
  np.testing.assert_allclose(ratios[:, -1], np.stack(wanted), atol=1e-3)


def test_systems_without_an_inverse_are_finite():
  time = np.arange(4000)
  tones = np.stack([np.sin(0.3 * time), np.sin(0.9 * time)])
  twins = np.stack([np.sin(0.01 * time**1.5)] * 2)
  constant = np.ones((2, 4000))
  reference = np.stack([tones, twins, constant]).astype(np.float32)
  noise = np.random.default_rng(10).standard_normal(reference.shape)
  estimate = (reference + 0.1 * noise).astype(np.float32)
  sdr, sir, sar = metrics.bss_eval(estimate, reference)
  assert np.isfinite(np.stack([sdr, sir, sar])).all()
  # The noise is 17 dB below the tones, and a 512-tap filter takes some of it.
  np.testing.assert_allclose(sdr[0], 17.0, atol=0.5)


@pytest.mark.parametrize(("time", "filter_length"), [(1, 4), (33, 5)])
def test_short_and_odd_lengths_are_finite(time, filter_length):
  rng = np.random.default_rng(11)
  reference = rng.standard_normal((1, time)).astype(np.float32)
  estimate = reference + 0.5 * rng.standard_normal(reference.shape)
  ratios = metrics.bss_eval(
    estimate.astype(np.float32), reference, filter_length=filter_length
  )
  assert np.isfinite(np.stack(ratios)).all()


# Transform.


def test_jit_vmap_and_sharding_change_nothing():
  rng = np.random.default_rng(12)
  reference = rng.standard_normal((8, 2, 400)).astype(np.float32)
  estimate = reference + 0.3 * rng.standard_normal(reference.shape)
  estimate = estimate.astype(np.float32)

  def score(estimate, reference):
    return metrics.bss_eval_permuted(estimate, reference, filter_length=8)

  plain = score(estimate, reference)
  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  place = NamedSharding(mesh, PartitionSpec("data"))
  shards = jax.device_put((estimate, reference), place)
  for other in (
    jax.vmap(score)(estimate, reference),
    jax.jit(score)(*shards),
  ):
    for a, b in zip(plain, other, strict=True):
      np.testing.assert_allclose(a, b, atol=1e-3)


# Failure.


@pytest.mark.parametrize(
  ("estimate", "reference", "options", "message"),
  [
    ((2, 8), (2, 9), {}, "same shape"),
    ((3, 8), (2, 8), {}, "same shape"),
    ((8,), (8,), {}, r"\[..., sources, time\]"),
    ((2, 0), (2, 0), {}, "not empty"),
    ((2, 8), (2, 8), {"filter_length": 0}, "filter_length 0"),
  ],
)
@pytest.mark.parametrize("score", [metrics.bss_eval, metrics.bss_eval_permuted])
def test_errors_say_what_is_wrong(
  unchecked, score, estimate, reference, options, message
):
  with pytest.raises(ValueError, match=message):
    score(jnp.ones(estimate), jnp.ones(reference), **options)
