"""Drawn rooms: what they must be, and the responses of one."""

import jax
import numpy as np
import pytest

from jaxsep import json_values, simulate

KEY = jax.random.key(3)
SMALL = simulate.RandomRoom(t60_s=(0.15, 0.2), height_m=(2.5, 3.0))


def draws(room=SMALL, num=300, num_sources=3):
  draw = jax.jit(jax.vmap(lambda key: room.draw(key, num_sources)))
  return jax.tree.map(np.asarray, draw(jax.random.split(KEY, num)))


def test_rooms_are_within_their_ranges():
  found = draws(simulate.RandomRoom())
  room, source = found["room"], found["source"]
  low, high = np.array([5, 5, 2.5]), np.array([16, 16, 4.5])
  assert (room >= low).all() and (room <= high).all()
  # The whole range is used: 300 draws leave little at its ends.
  assert (room.min(0) < low + 0.05 * (high - low)).all()
  assert found["t60_s"].min() > 0.15 and found["t60_s"].max() > 0.58
  microphone = found["microphone"]
  off = np.abs(microphone - room / 2)[:, :2]
  assert off.max() <= 2.0 + 1e-5 and off.max() > 1.8
  assert (microphone[:, 2] >= 0.4).all() and (microphone[:, 2] <= 1.2).all()
  assert ((source > 0) & (source < room[:, None])).all()
  apart = source - microphone[:, None]
  assert np.hypot(apart[..., 0], apart[..., 1]).max() <= 4.0 + 1e-5
  rise = apart[..., 2]
  assert rise.min() >= 0.0 and rise.max() <= 1.1 + 1e-5
  # One height for all, but for the spread.
  assert np.ptp(rise, axis=1).max() <= 0.2 + 1e-5


def test_no_room_is_too_large_for_its_time():
  found = draws()
  share = simulate.sabine_absorption(
    found["room"], found["t60_s"], speed_of_sound=340
  )
  assert share.max() < 1.0
  # Rooms as large as these may be do not fit: they are drawn again.
  largest = simulate.sabine_absorption(np.array([16.0, 16, 3]), 0.15)
  assert largest > 1.1 and share.max() > 0.95


def test_speakers_stand_apart():
  room = simulate.RandomRoom(min_angle_deg=30.0)
  found = draws(room)
  apart = found["source"] - found["microphone"][:, None]
  angle = np.degrees(np.arctan2(apart[..., 1], apart[..., 0]))
  for one, other in ((0, 1), (0, 2), (1, 2)):
    between = np.abs(angle[:, one] - angle[:, other])
    assert np.minimum(between, 360 - between).min() > 29.9


def test_responses_start_with_the_nearest_speaker():
  rirs = np.asarray(
    jax.jit(lambda key: SMALL(key, 2, sample_rate_hz=8000))(KEY)
  )
  place = jax.tree.map(np.asarray, jax.jit(lambda key: SMALL.draw(key, 2))(KEY))
  apart = place["source"] - place["microphone"]
  distance = np.linalg.norm(apart, axis=-1)
  later = (distance - distance.min()) * 8000 / 340
  assert rirs.shape == (2, 1600)
  near = int(distance.argmin())
  gain = 1 / (4 * np.pi * distance[near])
  np.testing.assert_allclose(rirs[near, 0], gain, rtol=0.05)
  peak = np.argmax(rirs[1 - near, : int(later.max()) + 4])
  assert abs(peak - later.max()) < 1.5
  # They end at the reverberation time.
  end = int(place["t60_s"] * 8000 - 8000 * distance.min() / 340) + 42
  assert np.abs(rirs[:, end:]).max() < 1e-5 * gain


def test_rooms_are_values():
  text = json_values.encode(SMALL)
  again = json_values.decode(text, {"RandomRoom": simulate.RandomRoom})
  assert again == SMALL and hash(again) == hash(SMALL)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"t60_s": (0.6, 0.2)}, "t60_s .* must be a number or"),
    ({"t60_s": 0.02}, "t60_s .* is too short for rooms from"),
    ({"height_m": 0.0}, "give larger sizes"),
  ],
)
def test_impossible_ranges_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    simulate.RandomRoom(**options)
