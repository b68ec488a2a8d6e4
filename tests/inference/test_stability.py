"""Speakers stay in their outputs, with a separator that fails as real ones do.

It knows the sources. It changes their order from chunk to chunk, leaks, moves a
voice that is alone to its other output within a chunk, and distorts.
"""

import functools

import numpy as np
import pytest

from experiments.benchmarks.stability_cases import make_cases
from jaxsep import inference

RATE = 8000
CHUNK = 4 * RATE


@functools.cache
def speech(pitch_hz, tilt, seconds, seed):
  """A voice: harmonics under moving formants, in syllables; RMS 0.1."""
  rng = np.random.default_rng(seed)
  length = seconds * RATE
  time_s = np.arange(length) / RATE
  knots = np.arange(0, seconds + 0.2, 0.2)
  pitch = pitch_hz * 2 ** rng.normal(0, 0.05, len(knots))
  phase = 2 * np.pi * np.cumsum(np.interp(time_s, knots, pitch)) / RATE
  formants = [
    np.interp(time_s, knots, center * rng.uniform(0.85, 1.15, len(knots)))
    for center in (500 * tilt, 1500 * tilt, 2500 * tilt)
  ]
  signal = 0.01 * rng.normal(size=length)
  for number in range(1, int(3800 / pitch_hz)):
    frequency = number * np.interp(time_s, knots, pitch)
    gain = sum(np.exp(-(((frequency - f) / 150) ** 2)) for f in formants)
    signal += gain * np.sin(number * phase)
  syllables = np.interp(time_s, knots, rng.random(len(knots)) > 0.3)
  signal *= syllables
  return 0.1 * signal / signal.std()


def separated(references, *, seed=0, leak=0.1):
  """What `separate` makes of a recording with it."""
  rng = np.random.default_rng(seed)
  level = inference.EvenLevel(RATE)
  mixture = np.concatenate(list(level.even([references.sum(axis=0)])))
  gain = mixture / np.where(references.sum(axis=0) == 0, 1, references.sum(0))
  evened = references * gain
  join = inference.CrossFade(len(references), sample_rate_hz=RATE)
  parts = []
  for chunk in inference.Overlapping(CHUNK)([mixture]):
    stop = chunk.start + len(chunk.samples)
    estimate = evened[:, chunk.start : stop]
    estimate = np.concatenate(
      [
        second[::-1] if moves and _is_alone(second) else second
        for moves, second in zip(
          np.arange(4) < rng.integers(5), np.split(estimate, 4, 1), strict=True
        )
      ],
      axis=1,
    )
    noise = rng.normal(0, 0.3, estimate.shape) * np.abs(estimate)
    estimate = estimate + noise + leak * estimate.sum(axis=0)
    parts.append(join.add(chunk, estimate[rng.permutation(len(estimate))]))
  parts.append(join.flush())
  return np.concatenate(list(level.restore(parts)), axis=1)


def _is_alone(second):
  energy = np.square(second).sum(axis=1)
  return energy.max() > 100 * np.delete(energy, energy.argmax()).max()


def wrong_windows(estimate, references):
  """Share of windows of 2 s that are nearer to another order."""
  windows = references.shape[1] // (2 * RATE)
  shape = (2, windows, 2 * RATE)
  parts = [
    s[:, : windows * 2 * RATE].reshape(shape) for s in (estimate, references)
  ]
  errors = [
    np.square(part - parts[1]).sum((0, 2))
    for part in (parts[0], parts[0][::-1])
  ]
  is_heard = np.square(parts[1]).sum((0, 2)) > 0
  wrong = np.mean((errors[0] > errors[1])[is_heard])
  return min(wrong, 1 - wrong)


def low_and_high(seconds=60):
  return np.stack([speech(100, 0.9, seconds, 1), speech(210, 1.2, seconds, 2)])


@functools.cache
def cases():
  made = make_cases(*low_and_high() / 0.1, RATE, seed=0)
  return {name: references for name, references, _ in made}


@pytest.mark.parametrize(
  "name",
  [
    "steady",
    "30 dB softer",
    "one silent",
    "handover",
    "turns",
    "turns and fall",
    "levels",
  ],
)
def test_speakers_stay_in_their_outputs(name):
  references = np.float32(0.1 * cases()[name])
  estimate = separated(references)
  assert estimate.shape == references.shape
  # The separator itself moves a voice within some windows.
  assert wrong_windows(estimate, references) <= 0.1


def test_level_is_evened_and_restored():
  recording = np.float32(low_and_high(40).sum(axis=0))
  recording[20 * RATE :] *= 0.01
  level = inference.EvenLevel(RATE)
  blocks = np.split(recording, [1, 12345, 200_000])
  evened = np.concatenate(list(level.even(blocks)))
  loudness = [evened[: 15 * RATE].std(), evened[25 * RATE :].std()]
  np.testing.assert_allclose(loudness, 0.1, rtol=0.2)
  restored = np.concatenate(
    list(level.restore(np.split(evened[None], [7, 99_999], 1))), 1
  )
  np.testing.assert_allclose(restored[0], recording, rtol=1e-5)
  # However it comes, also at the edge of what float32 holds.
  for factor in (1e-20, 1e20):
    again = inference.EvenLevel(RATE).even([np.float32(factor) * recording])
    np.testing.assert_allclose(np.concatenate(list(again)), evened, rtol=1e-4)


def test_background_in_a_pause_stays_soft():
  recording = np.float32(low_and_high(40).sum(axis=0))
  noise = np.random.default_rng(0).normal(0, 1e-4, len(recording))
  recording[15 * RATE : 25 * RATE] = noise[15 * RATE : 25 * RATE]
  evened = np.concatenate(list(inference.EvenLevel(RATE).even([recording])))
  assert evened[16 * RATE : 24 * RATE].std() < 0.03
  assert evened[: 14 * RATE].std() > 0.08


def test_features_do_not_depend_on_rate_or_level():
  soxr = pytest.importorskip("soxr")
  signals = low_and_high(4)
  usual = inference.speaker_features(signals, RATE)
  higher = soxr.resample(signals.T, RATE, 16000).T
  for one, other in zip(
    usual, inference.speaker_features(higher, 16000), strict=True
  ):
    np.testing.assert_allclose(one.mean(0), other.mean(0), atol=0.3)
  # Too short for a frame, or silent: nothing is heard.
  for nothing in (np.zeros((2, 4000)), np.ones((2, 100))):
    assert not any(map(len, inference.speaker_features(nothing, RATE)))


def exchanged_at(references, times_s):
  estimate = references.copy()
  for time_s in times_s:
    estimate[:, time_s * RATE :] = estimate[::-1, time_s * RATE :]
  return estimate


@pytest.mark.parametrize("block", [160, 3 * RATE + 7])
def test_speakers_of_a_stream_return_to_their_outputs(block):
  references = low_and_high()
  estimate = exchanged_at(references, [20, 41])
  keep = inference.LiveOrder(2, sample_rate_hz=RATE)
  starts = range(0, estimate.shape[1], block)
  parts = [keep.apply(estimate[:, n : n + block]) for n in starts]
  ordered = np.concatenate(parts, axis=1)
  wrong = np.square(ordered - references).sum(axis=0) > 0
  # Two seconds after an exchange, at the latest, all is as it was.
  around = np.zeros(60, bool)
  around[[20, 21, 41, 42]] = True
  assert not wrong.reshape(60, RATE)[~around].any()
  assert wrong.any()


def test_a_stream_in_order_is_not_touched():
  references = low_and_high() * np.linspace(1e-3, 1, 60 * RATE)
  references[:, 20 * RATE : 30 * RATE] = 0
  keep = inference.LiveOrder(2, sample_rate_hz=RATE)
  np.testing.assert_array_equal(keep.apply(references), references)


def test_too_many_sources_to_order():
  with pytest.raises(ValueError, match="7 sources have too many orders"):
    inference.CrossFade(7, sample_rate_hz=RATE)
