"""Scores of separated mixtures, all at once."""

import numpy as np
import pytest

from jaxsep import metrics


@pytest.fixture(name="signals", scope="module")
def make_signals():
  rng = np.random.default_rng(0)
  reference = rng.standard_normal((3, 2, 3001)).astype(np.float32) + 0.02
  noise = rng.standard_normal(reference.shape).astype(np.float32)
  return reference + 0.3 * noise, reference, reference.sum(1)


def check(found, row, estimate, reference, mixture):
  """One example's scores against the metrics themselves."""
  before = np.stack([mixture, mixture])
  for name, metric in (
    ("si_sdr", metrics.si_sdr),
    ("si_snr", metrics.si_snr),
    ("sdr", lambda *pair: metrics.bss_eval(*pair)[0]),
  ):
    own, other = metric(estimate, reference), metric(before, reference)
    np.testing.assert_allclose(found[name][row], own, atol=2e-3)
    np.testing.assert_allclose(found[f"mixture_{name}"][row], other, atol=2e-3)
    np.testing.assert_allclose(
      found[f"{name}_improvement"][row], own - other, atol=4e-3
    )


def test_they_are_those_of_the_metrics(signals):
  found = metrics.separation_scores(*signals)
  assert len(found) == 9
  assert all(value.shape == (3, 2) for value in found.values())
  check(found, 1, *(signal[1] for signal in signals))


def test_what_stands_past_the_length_has_no_effect(signals):
  length = np.array([3001, 2000, 0])
  spoilt = [signal.copy() for signal in signals]
  for signal in spoilt:
    signal[1, ..., 2000:] = np.nan
  found = metrics.separation_scores(*spoilt, length=length)
  check(found, 0, *(signal[0] for signal in signals))
  check(found, 1, *(signal[1, ..., :2000] for signal in signals))
  # Nothing at all, as in a padding row, is silence.
  assert (found["si_sdr"][2] == -150.0).all()
  assert np.isfinite(found["si_snr"][2]).all()


def test_an_estimate_of_nan_has_scores_of_nan(signals):
  estimate, reference, mixture = signals
  found = metrics.separation_scores(estimate * np.nan, reference, mixture)
  for name in ("si_sdr", "si_snr", "sdr", "sdr_improvement"):
    assert np.isnan(found[name]).all()


def test_shapes_must_fit(unchecked, signals):
  estimate, reference, mixture = signals
  with pytest.raises(ValueError, match=r"mixture \(3, 3000\)"):
    metrics.separation_scores(estimate, reference, mixture[:, :-1])
  with pytest.raises(ValueError, match="same shape"):
    metrics.separation_scores(estimate, reference[:, :1], mixture)
