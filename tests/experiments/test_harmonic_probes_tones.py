"""Tones, gaps and the scores of what a separator made of them."""

import jax
import numpy as np
import pytest

from experiments.harmonic_probes.probes import gaps, tones
from jaxsep import metrics, simulate

RATE_HZ = 8000


class Fake:
  """Separates by a function of the mixture that is known beforehand."""

  sample_rate_hz = RATE_HZ
  num_sources = 2
  name = "fake"

  def __init__(self, separate):
    self.separate = separate
    self.calls = []

  def __call__(self, mixture):
    mixture = np.asarray(mixture)
    self.calls.append(mixture.shape)
    return self.separate(mixture)


def by_burst(period_s=0.062, first=0):
  """Knows when each tone is on: the low one goes to channel `first`."""
  burst = round(period_s * RATE_HZ / 2)

  def separate(mixture):
    tone = np.arange(mixture.shape[-1]) // burst % 2
    low, high = mixture * (tone == 0), mixture * (tone == 1)
    return np.stack([low, high] if first == 0 else [high, low], axis=1)

  return separate


@pytest.fixture(scope="module")
def trains():
  return jax.vmap(
    lambda key: simulate.alternating_tones(
      key, num_samples=8000, sample_rate_hz=RATE_HZ, harmonics=(1, 2, 3)
    )["reference"]
  )(jax.random.split(jax.random.key(0), 2))


# Segregation.


@pytest.mark.parametrize("swapped", [False, True])
def test_exact_channels_are_segregated(trains, swapped):
  trains = np.asarray(trains)
  scores = tones.segregation(trains[:, ::-1] if swapped else trains, trains)
  assert (scores["si_sdr_db"] > 100).all()
  assert (scores["low_channel"] == (2 if swapped else 1)).all()
  for name in ("leakage", "leakage_low", "leakage_high"):
    np.testing.assert_allclose(scores[name], 0, atol=1e-6)
  energy = np.square(trains).sum(-1)
  share = energy[:, int(swapped)] / energy.sum(-1)
  np.testing.assert_allclose(scores["energy_channel_1"], share, rtol=1e-5)


def test_known_leakage(trains):
  trains = np.asarray(trains)
  low, high = trains[:, 0], trains[:, 1]
  estimate = np.stack([0.8 * low + 0.3 * high, 0.6 * low + high], axis=1)
  scores = tones.segregation(estimate, trains)
  np.testing.assert_allclose(scores["leakage_low"], 0.36, rtol=1e-4)
  np.testing.assert_allclose(scores["leakage_high"], 0.09 / 1.09, rtol=1e-4)
  expected = np.asarray(metrics.si_sdr(estimate, trains))
  np.testing.assert_allclose(scores["si_sdr_low_db"], expected[:, 0], rtol=1e-4)
  np.testing.assert_allclose(scores["si_sdr_db"], expected.mean(-1), rtol=1e-4)


def test_both_tones_in_one_channel_leak_wholly_or_not_at_all(trains):
  mixture = np.asarray(trains).sum(1)
  estimate = np.stack([mixture, 1e-6 * mixture], axis=1)
  scores = tones.segregation(estimate, trains)
  np.testing.assert_allclose(scores["leakage"], 0.5, atol=1e-5)
  both = np.sort([scores["leakage_low"], scores["leakage_high"]], axis=0)
  np.testing.assert_allclose(both, [[0, 0], [1, 1]], atol=1e-5)
  np.testing.assert_allclose(scores["energy_channel_1"], 1.0, atol=1e-5)
  silent = tones.segregation(np.zeros_like(estimate), trains)
  assert all(np.isfinite(value).all() for value in silent.values())


def test_every_kind_of_tones_is_probed():
  separate = Fake(by_burst())
  rows, examples = tones.probe_tones(
    separate,
    harmonic_sets={"1-3": (1, 2, 3), "4, 5": (4, 5)},
    amplitudes=("inverse",),
    num_seeds=3,
    duration_s=0.5,
  )
  assert len(rows) == 6 and separate.calls == [(6, 4000)]
  assert [row["seed"] for row in rows] == [0, 1, 2] * 2
  assert all(row["si_sdr_db"] > 30 for row in rows)
  assert examples.keys() == {"1-3", "4, 5"}
  for example in examples.values():
    assert example["estimate"].shape == example["reference"].shape == (2, 4000)
    np.testing.assert_allclose(
      example["mixture"], example["reference"].sum(0), atol=1e-6
    )
  table = tones.summarize_tones(rows)
  assert [row["harmonics"] for row in table] == ["1-3", "4, 5"]
  assert all(row["segregated"] == 1 and row["seeds"] == 3 for row in table)
  first = [row["si_sdr_db"] for row in rows[:3]]
  assert table[0]["si_sdr_db"] == pytest.approx(np.mean(first))
  error = np.std(first, ddof=1) / 3**0.5
  assert table[0]["si_sdr_error_db"] == pytest.approx(error)


# Gaps.


@pytest.fixture(scope="module")
def stimuli():
  return gaps.make_stimuli(RATE_HZ, 3, 0.062, 0.031)


def errors_of(estimate, **place):
  usual = {"gap": 248, "burst": 248, "sample_rate_hz": RATE_HZ}
  return gaps.burst_errors(estimate, **{**usual, **place})


def score(stimuli, estimate, without, seed=0):
  place = {name: stimuli[name] for name in ("gap", "burst", "sample_rate_hz")}
  starts = stimuli["starts"][seed]
  return gaps.score_gaps(estimate, without, starts=starts, **place)


def swapped(estimate, numbers):
  """Channels that change places during some bursts."""
  estimate = estimate.copy()
  for number in numbers:
    part = slice(number * 248, (number + 1) * 248)
    estimate[:, part] = estimate[::-1, part]
  return estimate


def test_stimuli_are_muted_where_they_say(stimuli):
  assert stimuli["burst"] == 248
  for mixture, reference, starts in zip(
    stimuli["mixture"], stimuli["reference"], stimuli["starts"], strict=True
  ):
    np.testing.assert_allclose(mixture, reference.sum(0), atol=1e-6)
    assert (starts // 248 % 2 == gaps.MUTED).all()
    for start in starts:
      assert (mixture[start : start + 248] == 0).all()
      assert np.abs(mixture[start + 250 : start + 496]).max() > 0.01
  assert len({tuple(starts) for starts in stimuli["starts"].tolist()}) == 3


@pytest.mark.parametrize("first", [0, 1])
def test_flawless_separator_makes_no_error(stimuli, first):
  estimate = by_burst(first=first)(stimuli["mixture"])
  for seed in range(3):
    for row in score(stimuli, estimate[seed], estimate[seed], seed):
      assert row["errors"] == row["errors_without_gap"] == 0
      assert row["leakage"] == pytest.approx(0, abs=1e-9)
      assert row["apart"] and row["segregated"]
      assert (row["low_channel"], row["high_channel"]) == (first + 1, 2 - first)
      # Two gaps; 150 ms are some 5 bursts.
      assert 8 <= row["bursts"] <= 10
      assert row["bursts"] == row["bursts_low"] + row["bursts_high"]


def test_wrong_burst_is_counted_with_its_gap_and_tone(stimuli):
  without = by_burst()(stimuli["mixture"])[0]
  # The high burst after the first gap, which mutes the low tone, goes to
  # channel 1; one long after all gaps does as well.
  assert gaps.MUTED[0] == 0
  numbers = stimuli["starts"][0][0] // 248 + 1, 32000 // 248 // 2 * 2 - 3
  assert all(number % 2 == 1 for number in numbers)
  estimate = swapped(without, numbers)
  low, high = score(stimuli, estimate, without)
  assert (low["errors"], low["errors_low"], low["errors_high"]) == (1, 0, 1)
  assert high["errors"] == low["errors_without_gap"] == 0
  assert low["leakage"] == pytest.approx(1 / low["bursts"], rel=0.3)
  assert low["leakage_without_gap"] == high["leakage"] == 0
  # And the other way round, what happens without the gap is not its fault.
  low, high = score(stimuli, without, estimate)
  assert (low["errors"], low["errors_without_gap"]) == (0, 1)


def test_errors_mean_nothing_where_tones_share_a_channel(stimuli):
  mixture = stimuli["mixture"][0]
  together = np.stack([mixture, 0.1 * mixture])
  for row in score(stimuli, together, together):
    assert not row["apart"] and not row["segregated"]
    assert row["errors"] == 0 and row["energy_channel_1"] > 0.98
  exact = by_burst()(stimuli["mixture"])[0]
  blurred = exact + 0.8 * exact[::-1]
  for row in score(stimuli, blurred, blurred):
    assert row["apart"] and not row["segregated"]
    assert row["leakage"] == pytest.approx(0.64 / 1.64, rel=1e-3)


def test_run_without_gaps_is_judged_by_its_own_channels(stimuli):
  estimate = by_burst()(stimuli["mixture"])[0]
  # The network starts the other way round, gaps or not.
  for row in score(stimuli, estimate, estimate[::-1]):
    assert row["errors"] == row["errors_without_gap"] == 0
    assert row["leakage_without_gap"] == 0
  # A low and a high burst that go wrong without the gap are told apart.
  first = stimuli["starts"][0][0] // 248
  without = swapped(estimate[::-1], first + np.arange(1, 4))
  low, high = score(stimuli, estimate, without)
  assert low["errors_low_without_gap"] == 1
  assert low["errors_high_without_gap"] == 2
  assert low["errors_without_gap"] == 3 and high["errors_without_gap"] == 0


def test_muted_burst_is_not_judged(stimuli):
  estimate = by_burst()(stimuli["mixture"])[0]
  found = errors_of(estimate, starts=stimuli["starts"][0])
  muted = stimuli["starts"][0] // 248
  assert (found["after"][muted] == -1).all()
  np.testing.assert_array_equal(found["after"][muted + 1], gaps.MUTED)
  assert not found["steady"][muted].any() and found["steady"].sum() > 20
  assert not (found["steady"] & (found["after"] >= 0)).any()


def test_gaps_are_probed_and_summed_up():
  separate = Fake(by_burst(0.05))
  rows = gaps.probe_gaps(
    separate,
    periods_s=(0.05,),
    gaps_s=(0.01, 0.06),
    num_seeds=2,
    amplitude="equal",
  )
  assert separate.calls == [(6, 32000)]
  assert len(rows) == 2 * 2 * 2
  table = gaps.summarize_gaps(rows)
  kinds = [(row["period_ms"], row["gap_ms"], row["muted"]) for row in table]
  assert kinds == [
    (*place, muted)
    for place in (("all", "all"), (50.0, "all"), (50.0, 10.0), (50.0, 60.0))
    for muted in ("low", "high")
  ]
  for row in table:
    assert row["segregated"] == row["apart"] == row["stimuli"]
    assert row["error_rate"] == row["error_rate_without_gap"] == 0
    assert row["bursts_all"] == row["bursts"] > 0 == row["errors_all"]
  assert [row["stimuli"] for row in table] == [4] * 4 + [2] * 4


def test_summary_has_rates_of_segregated_stimuli_only():
  bursts = {"bursts": 10, "bursts_low": 4, "bursts_high": 6}
  errors = {"errors": 3, "errors_low": 0, "errors_high": 3}
  without = {"errors": 1, "errors_low": 1, "errors_high": 0}
  row = {
    **{"period_ms": 62.0, "gap_ms": 31.0, "muted": "low", "seed": 0},
    **bursts,
    **errors,
    **{f"{name}_without_gap": count for name, count in without.items()},
    **{"leakage": 0.3, "leakage_without_gap": 0.1},
    **{"apart": True, "segregated": True},
  }
  other = {**row, "seed": 1, "errors": 10, "leakage": 0.5, "segregated": False}
  lost = {**other, "leakage": 0.9, "apart": False}
  whole, period, _ = gaps.summarize_gaps([row, other, lost])
  assert {**whole, "period_ms": 62.0} == period
  expected = {
    **{"stimuli": 3, "segregated": 1, "apart": 2, "leakage": 0.4},
    **{"error_rate": 0.3, "error_rate_high": 0.5},
    "error_rate_without_gap": 0.1,
    # All stimuli count here.
    **{"bursts_all": 30, "bursts_all_low": 12, "bursts_all_high": 18},
    **{"errors_all": 23, "errors_all_low": 0, "errors_all_high": 9},
    **{f"errors_all{x}_without_gap": n for x, n in (("", 3), ("_high", 0))},
    # One of two seeds has 3 - 1, one 10 - 1 + 10 - 1 more errors with gaps.
    **{"more_by_seed": 10.0, "more_by_seed_error": 8.0},
  }
  assert {name: whole[name] for name in expected} == pytest.approx(expected)
  nothing, *_ = gaps.summarize_gaps([lost])
  assert np.isnan(nothing["error_rate"]) and np.isnan(nothing["leakage"])
  assert nothing["errors_all"] == 10
