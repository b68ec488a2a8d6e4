"""The image method against a plain sum, a peer, and what rooms must do."""

import jax
import numpy as np
import pytest

from jaxsep import simulate

RATE = 8000
ROOM = np.array([5.0, 4.0, 3.0])
SOURCES = np.array([[1.0, 1.3, 1.5], [4.1, 2.2, 1.7]])
MICROPHONE = np.array([2.6, 2.9, 1.2])


def rirs(source=SOURCES, room=ROOM, **options):
  options = {"sample_rate_hz": RATE, "length": 1200} | options
  if "t60_s" not in options:
    options.setdefault("absorption", 0.4)
  return np.asarray(simulate.shoebox_rir(room, source, MICROPHONE, **options))


def plain_sum(source, absorption=0.4, length=1200, num_taps=81, speed=343.0):
  """Every image by itself, in 64 bits: the definition."""
  half, scale = num_taps // 2, RATE / speed
  place, walls = [], []
  for size, s, m in zip(ROOM, source, MICROPHONE, strict=True):
    last = int((length + half) / scale / size) + 2
    turn = np.arange(-last, last + 1)
    place.append(np.append(2 * turn * size + s, 2 * turn * size - s) - m)
    walls.append(np.append(np.abs(2 * turn), np.abs(2 * turn - 1)))
  distance = np.sqrt(sum(x**2 for x in np.meshgrid(*place, indexing="ij")))
  gain = np.sqrt(1 - absorption) ** sum(np.meshgrid(*walls, indexing="ij"))
  gain, delay = (gain / (4 * np.pi * distance)).ravel(), distance.ravel()
  delay = delay * scale
  near = np.round(delay).astype(int)
  rir = np.zeros(length)
  for tap in range(-half, half + 1):
    after = near + tap - delay
    value = gain * np.sinc(after) * np.cos(np.pi * after / (2 * half)) ** 2
    value[np.abs(after) > half] = 0
    heard = (near + tap >= 0) & (near + tap < length)
    np.add.at(rir, (near + tap)[heard], value[heard])
  return rir


def decay_time(rir):
  """T60 from the energy yet to come, between -5 and -35 dB."""
  left = np.cumsum(rir[::-1] ** 2)[::-1]
  level = 10 * np.log10(left / left[0])
  return 2 * (np.argmax(level < -35) - np.argmax(level < -5)) / RATE


# Reference.


def test_equals_the_plain_sum_of_images():
  found = rirs(high_pass_hz=None)
  for rir, source in zip(found, SOURCES, strict=True):
    wanted = plain_sum(source)
    assert np.abs(rir - wanted).max() < 3e-5 * np.abs(wanted).max()
    late = slice(900, None)
    error = np.sum((rir - wanted)[late] ** 2) / np.sum(wanted[late] ** 2)
    assert error < 1e-6


def test_equals_pyroomacoustics():
  pra = pytest.importorskip("pyroomacoustics")
  # Its window of a fractional delay is centred on the sample before it.
  before = pra.constants.get("rir_hpf_enable")
  pra.constants.set("rir_hpf_enable", False)
  try:
    room = pra.ShoeBox(ROOM, fs=RATE, materials=pra.Material(0.4), max_order=30)
    for source in SOURCES:
      room.add_source(source)
    room.add_microphone(MICROPHONE)
    room.compute_rir()
  finally:
    pra.constants.set("rir_hpf_enable", before)
  found = rirs(high_pass_hz=None)
  for rir, wanted in zip(found, room.rir[0], strict=True):
    wanted = wanted[40 : 40 + len(rir)] / (4 * np.pi)
    assert np.abs(rir - wanted).max() < 3e-3 * np.abs(wanted).max()
    assert np.sum((rir - wanted) ** 2) < 2e-5 * np.sum(wanted**2)


def test_the_high_pass_is_that_of_allen_and_berkley():
  plain, wanted = rirs(high_pass_hz=None), rirs()
  w = 2 * np.pi * 100 / RATE
  r = np.exp(-w)
  state = np.zeros((2, 2))
  found = np.zeros_like(plain)
  for n in range(plain.shape[-1]):
    now = plain[:, n] + 2 * r * np.cos(w) * state[0] - r**2 * state[1]
    found[:, n] = now - (1 + r) * state[0] + r * state[1]
    state = np.stack([now, state[0]])
  np.testing.assert_allclose(found, wanted, atol=2e-6)


# Law.


def test_direct_sound_arrives_at_its_time_with_its_gain():
  # 2 m at a whole number of samples: one tap of 1 / (4 pi r).
  options = {
    "speed_of_sound": 320.0,
    "high_pass_hz": None,
    "absorption": 0.9999,
  }
  source = MICROPHONE + np.array([0.0, -2.0, 0.0])
  direct = np.array(rirs(source, length=64, **options))
  np.testing.assert_allclose(direct[50], 1 / (8 * np.pi), rtol=1e-4)
  direct[50] = 0
  assert np.abs(direct[:64]).max() < 2e-6


@pytest.mark.parametrize(
  ("room", "t60_s"), [(ROOM, 0.3), ((8.0, 6.0, 3.0), 0.3)]
)
def test_energy_decays_in_the_time_asked_for(room, t60_s):
  room = np.array(room)
  places = np.random.default_rng(0).uniform(0.1, 0.9, (8, 3)) * room
  found = rirs(places, room=room, t60_s=t60_s, length=3600)
  mean = np.mean([decay_time(rir) for rir in found])
  np.testing.assert_allclose(mean, t60_s, rtol=0.05)


def test_sound_travels_both_ways_alike():
  there = simulate.shoebox_rir(
    ROOM, SOURCES[0], MICROPHONE, t60_s=0.2, sample_rate_hz=RATE, length=1200
  )
  back = simulate.shoebox_rir(
    ROOM, MICROPHONE, SOURCES[0], t60_s=0.2, sample_rate_hz=RATE, length=1200
  )
  np.testing.assert_allclose(there, back, atol=2e-5 * np.abs(there).max())


def test_later_images_are_left_out():
  found = rirs(until_s=0.05, high_pass_hz=None)
  whole = rirs(high_pass_hz=None)
  assert np.abs(found[:, 441:]).max() == pytest.approx(0, abs=1e-7)
  np.testing.assert_allclose(found[:, :360], whole[:, :360], atol=1e-7)


def test_sabine_is_the_formula():
  # 0.161 V / (S T).
  found = simulate.sabine_absorption(ROOM, 0.5)
  np.testing.assert_allclose(found, 0.161 * 60 / (94 * 0.5), rtol=2e-3)


# Edge and transform.


def test_a_source_at_the_microphone_is_finite():
  assert np.isfinite(rirs(MICROPHONE)).all()


def test_rooms_of_a_batch_are_as_if_alone():
  rooms = np.stack([ROOM, ROOM + 2.0])
  t60_s = np.array([0.2, 0.4])

  def one(room, source, t60_s):
    return simulate.shoebox_rir(
      room, source, MICROPHONE, t60_s=t60_s, until_s=t60_s,
      sample_rate_hz=RATE, length=1200,
    )  # fmt: skip

  batch = jax.jit(jax.vmap(one))(rooms, SOURCES, t60_s)
  axes = jax.jit(one)(rooms, SOURCES, t60_s)
  for n in range(2):
    alone = one(rooms[n], SOURCES[n], t60_s[n])
    np.testing.assert_allclose(batch[n], alone, atol=1e-6)
    np.testing.assert_allclose(axes[n], alone, atol=1e-6)


# Failure.


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"source": ROOM}, "source .* is not inside the room"),
    ({"room": -ROOM}, "must have positive sizes"),
    ({"absorption": 1.0}, "absorption 1.0 must be .* below 1"),
    ({"t60_s": 0.3, "absorption": 0.3}, "either t60_s or absorption"),
    ({"num_taps": 80}, "num_taps 80 must be odd"),
  ],
)
def test_impossible_rooms_are_refused(change, message):
  with pytest.raises(ValueError, match=message):
    rirs(**change)
