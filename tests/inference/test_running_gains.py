"""Levels from the mixture, for estimates that come chunk by chunk."""

import numpy as np
import pytest

from jaxsep import inference

CHUNK = 160


def sources(num_chunks=50, *, seed=0):
  """Two sources of noise, equally loud."""
  generator = np.random.default_rng(seed)
  return generator.normal(0, 0.1, (2, num_chunks * CHUNK))


def run(mixture, estimates, *, half_life=20 * CHUNK, chunk=CHUNK):
  levels = inference.RunningGains(len(estimates), half_life=half_life)
  parts = [
    levels.apply(
      mixture[start : start + chunk], estimates[:, start : start + chunk]
    )
    for start in range(0, len(mixture), chunk)
  ]
  return np.concatenate(parts, axis=1)


def error_db(estimate, reference):
  error = np.sum((estimate - reference) ** 2, axis=-1)
  return 10 * np.log10(error / np.sum(reference**2, axis=-1))


# Laws.


@pytest.mark.parametrize("scale", [-0.1, 1e-3, 300.0])
def test_each_estimate_has_a_scale_of_its_own(scale):
  reference = sources()
  estimates = reference * np.array([[1.0], [scale]])
  got = run(reference.sum(0), estimates)
  assert got.dtype == np.float32
  assert error_db(got, reference)[:, np.newaxis].max() < -20


@pytest.mark.parametrize("share", [0.6, 0.9999, 1.0])
def test_estimates_that_cancel_do_not_blow_up(share):
  mixture = sources()[0]
  got = run(mixture, np.stack([mixture, -share * mixture]))
  np.testing.assert_allclose(got.sum(0), mixture, atol=0.02)
  assert np.abs(got).max() < 2.6 * np.abs(mixture).max()


def test_what_leaks_into_a_silent_output_stays_as_soft():
  mixture, noise = sources()
  # A copy 40 dB below, and some of what is new in it.
  leak = 0.01 * mixture + 1e-3 * noise
  got = run(mixture, np.stack([mixture, leak]))
  assert error_db(got[0], mixture) < -30
  assert np.std(got[1]) < 0.02 * np.std(mixture)


def test_gains_move_without_a_step():
  reference = sources()
  scales = np.repeat([[1.0, 0.1], [1.0, 1.0]], 25 * CHUNK, axis=0).T
  got = run(np.ones_like(reference[0]), np.ones((1, 50 * CHUNK)) * scales[1:])
  steps = np.abs(np.diff(got[0] / scales[1]))
  assert got[0, -1] == pytest.approx(1.0, abs=0.05)
  assert steps.max() < 10 / CHUNK


# Edges.


def test_silence_changes_nothing():
  reference = sources()
  estimates = 5 * reference
  gap = np.zeros((2, 3 * CHUNK))
  whole = run(reference.sum(0), estimates)
  with_gap = run(
    np.concatenate([gap[0], reference.sum(0)]),
    np.concatenate([gap, estimates], axis=1),
  )
  np.testing.assert_array_equal(with_gap[:, : 3 * CHUNK], 0)
  np.testing.assert_allclose(with_gap[:, 3 * CHUNK :], whole, atol=1e-6)


# Failures.


def test_refuses_options_out_of_range():
  for half_life in (0, -1.0, np.nan):
    with pytest.raises(ValueError, match="half_life must be positive"):
      inference.RunningGains(2, half_life=half_life)
