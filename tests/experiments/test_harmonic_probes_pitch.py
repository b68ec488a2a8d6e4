"""The probe of pitch: which channel has the lower speaker."""

import sys

import numpy as np
import pytest

from experiments.harmonic_probes import pitch
from experiments.harmonic_probes.probes import f0_order

RATE_HZ = 8000


def hum(f0_hz, seconds=0.6, level=0.1):
  step = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
  waves = [np.sin(2 * np.pi * k * f0_hz * step + k) / k for k in range(1, 8)]
  return (level * np.sum(waves, axis=0)).astype("f4")


@pytest.fixture(scope="module")
def channels():
  pairs = [(110, 210), (220, 120), (100, 130), (300, 140), (130, 260)]
  return np.stack([[hum(f) for f in pair] for pair in pairs])


@pytest.fixture(scope="module")
def pitch_rows(channels):
  return f0_order.probe_f0_order(
    channels, list("abcde"), sample_rate_hz=RATE_HZ, num_processes=0
  )


def test_pitch_and_order_are_found(pitch_rows):
  for row, (first, second) in zip(
    pitch_rows, [(110, 210), (220, 120), (100, 130)], strict=False
  ):
    assert row["f0_1_hz"] == pytest.approx(first, rel=0.02)
    assert row["median_f0_2_hz"] == pytest.approx(second, rel=0.02)
    assert row["log2_ratio"] == pytest.approx(np.log2(second / first), abs=0.03)
    assert row["voiced_1_s"] > 0.3
  mean, median = f0_order.summarize_f0_order(pitch_rows)
  assert (mean["average"], median["average"]) == ("mean", "median")
  assert mean["share_lower_in_channel_1"] == pytest.approx(0.6)
  assert mean["share_one_order"] == pytest.approx(0.6)
  flipped = [{**row, "log2_ratio": -row["log2_ratio"]} for row in pitch_rows]
  mean, _ = f0_order.summarize_f0_order(flipped)
  assert mean["share_lower_in_channel_1"] == pytest.approx(0.4)
  assert mean["share_one_order"] == pytest.approx(0.6)


def test_quiet_leak_of_the_other_speaker_is_not_tracked():
  signals = np.stack(
    [np.concatenate([hum(120), hum(300, level=x)]) for x in (0.001, 0.1)]
  )
  leak, alike = pitch.average_f0(
    signals, sample_rate_hz=RATE_HZ, num_processes=0
  )
  assert leak[0] == pytest.approx(120, rel=0.03) and alike[0] > 180


def test_silence_and_nan_have_no_pitch(channels):
  odd = np.stack([np.zeros(4800), np.full(4800, np.nan)]).astype("f4")
  found = pitch.average_f0(odd, sample_rate_hz=RATE_HZ, num_processes=0)
  assert np.isnan(found[:, :2]).all() and (found[:, 2] == 0).all()
  rows = f0_order.probe_f0_order(
    np.stack([channels[0], odd]),
    ["a", "b"],
    sample_rate_hz=RATE_HZ,
    num_processes=0,
  )
  mean, _ = f0_order.summarize_f0_order(rows)
  assert (mean["mixtures"], mean["not_voiced"]) == (1, 1)
  assert np.isnan(f0_order.summarize_f0_order(rows[1:])[0]["share_one_order"])


@pytest.mark.slow
def test_processes_find_what_one_finds(channels, pitch_rows):
  shared = f0_order.probe_f0_order(
    channels, list("abcde"), sample_rate_hz=RATE_HZ, num_processes=2
  )
  assert shared == pitch_rows


def test_failed_process_is_told_in_one_line(monkeypatch, channels):
  monkeypatch.setattr(pitch.sys, "executable", "/bin/false")
  with pytest.raises(ValueError, match="tracking pitch failed"):
    pitch.average_f0(
      channels.reshape(10, -1), sample_rate_hz=RATE_HZ, num_processes=2
    )


def test_tracker_must_be_there(monkeypatch):
  monkeypatch.setitem(sys.modules, "librosa", None)
  with pytest.raises(ValueError, match="pip install librosa"):
    pitch.check_installed()
