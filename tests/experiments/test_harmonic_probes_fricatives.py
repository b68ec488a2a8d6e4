"""The probe of fricatives: which speaker's channel they are in."""

import numpy as np
import pytest
from small_corpora import noise_of

from experiments.harmonic_probes.probes import fricatives
from jaxsep.simulate import Filter

RATE_HZ = 8000


@pytest.fixture(scope="module")
def hissing():
  """Two speakers hum, and hiss: the first at 0.2 s, the other at 0.6 s."""
  step = np.arange(8000) / RATE_HZ
  hiss = np.asarray(
    Filter("highpass", 3000)(
      noise_of(0, 8000).astype("f4"), sample_rate_hz=RATE_HZ
    )
  )
  sources = np.stack(
    [0.1 * np.sin(2 * np.pi * f * step) for f in (150, 230)]
  ).astype("f4")
  hums = sources.copy()
  for speaker, start in ((0, 1600), (1, 4800)):
    sources[speaker, start : start + 800] = hiss[start : start + 800]
    hums[speaker, start : start + 800] = 0
  return sources, hums


def misplaced(sources, hums):
  """The second speaker's hiss goes to the first."""
  return np.stack([hums[0] + (sources - hums).sum(0), hums[1]])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_misplaced_hiss_is_found(hissing, order):
  sources, hums = hissing
  estimate = misplaced(sources, hums)[list(order)]
  found = fricatives.find_frames(estimate, sources, sample_rate_hz=RATE_HZ)
  np.testing.assert_array_equal(found["permutation"], order)
  ((speaker, start, end),) = fricatives.boxes(found["wrong"])
  assert speaker == 1
  assert start == pytest.approx(0.6, abs=0.02)
  assert end == pytest.approx(0.7, abs=0.02)
  (row,) = fricatives.probe_fricatives(
    estimate[None], sources[None], ["m"], sample_rate_hz=RATE_HZ
  )
  assert row["share"] == pytest.approx(0.5, abs=0.1)
  assert row["low_share"] < 0.05
  assert row["low_share"] == pytest.approx(row["low_wrong_s"] / row["low_s"])
  assert row["fricative_s"] == pytest.approx(0.2, abs=0.05)


def test_levels_of_the_channels_do_not_count(hissing):
  sources, hums = hissing
  estimate = misplaced(sources, hums)
  estimate = estimate + 0.1 * estimate[::-1]
  found = fricatives.find_frames(estimate, sources, sample_rate_hz=RATE_HZ)
  gains = np.array([[0.01], [-30.0]], np.float32)
  scaled = fricatives.find_frames(
    gains * estimate, sources, sample_rate_hz=RATE_HZ
  )
  for name in ("wrong", "low_wrong"):
    np.testing.assert_array_equal(scaled[name], found[name])
  assert found["wrong"].any()


def test_shares_are_of_all_mixtures_together():
  rows = [
    {"fricative_s": 1.0, "wrong_s": 1.0, "low_s": 3.0, "low_wrong_s": 3.0},
    {"fricative_s": 3.0, "wrong_s": 0.0, "low_s": 9.0, "low_wrong_s": 0.0},
  ]
  (total,) = fricatives.summarize_fricatives(rows)
  assert total["share_wrong"] == total["share_wrong_low"] == 0.25
  assert (total["mixtures"], total["low_s"]) == (2, 12.0)


def test_right_channels_leave_nothing_to_mark(hissing):
  sources, _ = hissing
  found = fricatives.find_frames(
    sources[::-1].copy(), sources, sample_rate_hz=RATE_HZ
  )
  assert found["fricative"].sum() > 15 and not found["wrong"].any()
  assert fricatives.boxes(found["wrong"]) == []


def test_silence_has_no_fricatives():
  silence = np.zeros((1, 2, 4000), np.float32)
  (row,) = fricatives.probe_fricatives(
    silence, silence, ["m"], sample_rate_hz=RATE_HZ
  )
  assert row["fricative_s"] == 0 and np.isnan(row["share"])
  (total,) = fricatives.summarize_fricatives([row])
  assert np.isnan(total["share_wrong"]) and np.isnan(total["share_wrong_low"])


def test_example_is_one_that_is_separated_otherwise():
  rows = [
    {"low_share": 0.5, "wrong_energy": 0.9},
    {"low_share": 0.1, "wrong_energy": 0.2},
    {"low_share": 0.1, "wrong_energy": 0.4},
    {"low_share": np.nan, "wrong_energy": 0.8},
  ]
  assert fricatives.clearest_example(rows) == 2


def test_fricatives_need_a_band():
  silence = np.zeros((1, 2, 4000), np.float32)
  with pytest.raises(ValueError, match="4000; fricatives need more than 5000"):
    fricatives.probe_fricatives(silence, silence, ["m"], sample_rate_hz=4000)
