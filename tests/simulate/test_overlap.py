"""Overlapping speakers: where they are, how loud, and in what noise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsep import json_values, simulate

RATE, TIME = 1000, 4000
KINDS = ("full", "partial", "inner", "disjoint")
KEYS = jax.random.split(jax.random.key(5), 200)
LENGTH = np.array([2600, 1700], np.int32)
TOKENS = np.array([7, 5], np.int32)
QUIET = {"isotropic_snr_db": None, "peak": None}


def make(kind=None, **options):
  if kind is not None:
    weights = tuple(float(name == kind) for name in KINDS)
    options = {"overlap_weights": weights, "one_speaker_probability": 0.0} | (
      options
    )
  return simulate.OverlapSimulation(RATE, **options)


def parts(length=LENGTH, **further):
  rng = np.random.default_rng(0)
  sources = rng.standard_normal((2, TIME)).astype(np.float32)
  sources[1] *= 0.1
  usual = {"sources": sources, "length": length, "tokens_length": TOKENS}
  return usual | further


@functools.cache
def compiled(simulation):
  return jax.jit(jax.vmap(simulation, (0, None)))


def mixed(simulation, ingredients=None, keys=KEYS):
  found = compiled(simulation)(keys, ingredients or parts())
  return jax.tree.map(np.asarray, found)


def spans(found):
  """First sample and end of each reference, `[B, 2]`."""
  heard = found["reference"] != 0
  first = heard.argmax(-1)
  return first, heard.shape[-1] - heard[..., ::-1].argmax(-1)


def level_db(signal):
  return 10 * np.log10(np.mean(np.square(signal), axis=-1))


@pytest.fixture(scope="module")
def by_kind():
  return {kind: mixed(make(kind, **QUIET)) for kind in KINDS}


# Where the speakers are.


def test_full_overlap_starts_together(by_kind):
  first, end = spans(by_kind["full"])
  np.testing.assert_array_equal(first, 0)
  np.testing.assert_array_equal(end, np.tile(LENGTH, (200, 1)))
  np.testing.assert_array_equal(by_kind["full"]["length"], 2600)


def test_partial_overlap_is_within_its_range(by_kind):
  first, end = spans(by_kind["partial"])
  np.testing.assert_array_equal(first, by_kind["partial"]["start"])
  overlap = end[:, 0] - first[:, 1]
  assert overlap.min() >= 400 and overlap.max() <= 1700
  assert overlap.min() < 440 and overlap.max() > 1600
  np.testing.assert_array_equal(end[:, 1], by_kind["partial"]["length"])
  assert by_kind["partial"]["length"].max() <= TIME


def test_speakers_who_do_not_fit_are_shortened_alike():
  length = np.array([3900, 1950], np.int32)
  for kind in ("partial", "disjoint"):
    first, end = spans(mixed(make(kind, **QUIET), parts(length)))
    kept = end - first
    assert end.max() <= TIME and (kept[:, 0] < 3900).any()
    np.testing.assert_allclose(kept[:, 0], 2 * kept[:, 1], atol=2)


@pytest.mark.parametrize("outer", [0, 1])
def test_inner_overlap_is_a_part_of_the_shorter_within_the_longer(outer):
  length = LENGTH if outer == 0 else LENGTH[::-1]
  first, end = spans(mixed(make("inner", **QUIET), parts(length)))
  inner = 1 - outer
  np.testing.assert_array_equal(first[:, outer], 0)
  np.testing.assert_array_equal(end[:, outer], 2600)
  kept = (end - first)[:, inner]
  assert kept.min() >= 400 and 1600 < kept.max() <= 1700
  assert end[:, inner].max() <= 2600 and first[:, inner].max() > 1500


def test_disjoint_speakers_take_turns(by_kind):
  first, end = spans(by_kind["disjoint"])
  gap = first[:, 1] - end[:, 0]
  assert gap.min() >= 0 and gap.max() <= 1000
  # Their levels stay.
  reference = by_kind["disjoint"]["reference"][0]
  dry = parts()["sources"]
  np.testing.assert_allclose(reference[0, :1500], dry[0, :1500])
  start = first[0, 1]
  np.testing.assert_allclose(reference[1, start : start + 900], dry[1, :900])


def test_kinds_and_lone_speakers_are_as_frequent_as_asked():
  keys = jax.random.split(jax.random.key(6), 2000)
  found = mixed(make(one_speaker_probability=0.2, **QUIET), keys=keys)
  alone = found["num_sources"] == 1
  assert abs(alone.mean() - 0.2) < 0.03
  assert (found["reference"][alone, 1] == 0).all()
  np.testing.assert_array_equal(found["length"][alone], 2600)
  first, end = spans({"reference": found["reference"][~alone]})
  gap = first[:, 1] >= end[:, 0]
  assert abs(gap.mean() - 0.1) < 0.03
  full = (first[:, 1] == 0) & (end[:, 1] == 1700)
  assert abs(full.mean() - 0.6) < 0.04


# Levels.


def test_ratios_are_those_of_the_part_that_is_named(by_kind):
  for kind in ("full", "partial", "inner"):
    found = by_kind[kind]
    first, end = spans(found)
    ratio = []
    for n, reference in enumerate(found["reference"]):
      part = [slice(*x) for x in zip(first[n], end[n], strict=True)]
      if kind != "partial":
        # Both where both speak.
        part = [slice(first[n].max(), end[n].min())] * 2
      levels = [level_db(reference[i, part[i]]) for i in range(2)]
      ratio.append(levels[0] - levels[1])
    assert np.abs(ratio).max() < 5.01, kind
    assert np.ptp(ratio) > 9.5 and abs(np.mean(ratio)) < 0.7, kind


def test_noises_are_as_far_below_the_speech_as_asked():
  rng = np.random.default_rng(1)
  noise = rng.standard_normal(TIME).astype(np.float32)
  rir = np.array([0.0, 0.5, 0.2], np.float32)
  for options in (
    {"noise_snr_db": (5, 10), "isotropic_snr_db": None},
    {"noise_snr_db": None, "isotropic_snr_db": (5, 10)},
  ):
    found = mixed(make(peak=None, **options), parts(noise=noise, noise_rir=rir))
    speech = found["reference"].sum(1)
    ratio = level_db(speech) - level_db(found["noise"])
    assert ratio.min() > 4.99 and ratio.max() < 10.01 and np.ptp(ratio) > 4
    if options["isotropic_snr_db"] is None:
      shape = np.convolve(noise, rir)[:2000]
      gain = found["noise"][:, 100] / shape[100]
      np.testing.assert_allclose(
        found["noise"][:, :1700], gain[:, None] * shape[:1700], atol=1e-5
      )
    np.testing.assert_allclose(
      found["mixture"], speech + found["noise"], atol=1e-6
    )


def test_peaks_are_drawn_and_parts_keep_their_sum():
  found = mixed(make())
  peak = np.abs(found["mixture"]).max(-1)
  assert peak.min() > 0.0999 and peak.max() < 0.3001 and np.ptp(peak) > 0.18
  total = found["reference"].sum(1) + found["noise"]
  np.testing.assert_allclose(found["mixture"], total, atol=1e-6)
  after = np.arange(TIME) >= found["length"][:, None]
  assert (found["mixture"][after] == 0).all()


def test_hoth_noise_has_its_spectrum_at_every_rate():
  levels = []
  for rate in (8000, 16000):
    make_one = jax.jit(
      lambda key, rate=rate: simulate.hoth_noise(key, rate, sample_rate_hz=rate)
    )
    noise = np.stack([make_one(key) for key in KEYS[:50]])
    np.testing.assert_allclose(np.mean(noise**2), 1.0, rtol=0.03)
    power = np.mean(np.abs(np.fft.rfft(noise)) ** 2, axis=0)
    bands = [power[f - 20 : f + 20].mean() for f in (200, 1000, 3150)]
    levels.append(10 * np.log10(bands))
  for level in levels:
    np.testing.assert_allclose(level - level[0], [0, -11.4, -19.8], atol=0.8)


# Rooms, text, edges.


def test_rooms_are_drawn_or_given():
  room = simulate.RandomRoom(t60_s=(0.15, 0.2))
  simulation = make("full", room=room, **QUIET)
  keys = KEYS[:2]
  drawn = mixed(simulation, keys=keys)
  assert not np.allclose(drawn["reference"][0], drawn["reference"][1])
  rir = np.zeros((2, 50), np.float32)
  rir[:, 3] = 1.0
  given = mixed(simulation, parts(rir=rir), keys)
  dry = parts()["sources"][0, :2597]
  np.testing.assert_allclose(given["reference"][0, 0, 3:2600], dry, atol=1e-5)


def test_texts_of_cut_speakers_are_left_out(by_kind):
  np.testing.assert_array_equal(
    by_kind["full"]["tokens_length"], [TOKENS] * 200
  )
  inner = by_kind["inner"]["tokens_length"]
  np.testing.assert_array_equal(inner[:, 0], 7)
  assert (inner[:, 1] == 0).mean() > 0.9
  alone = mixed(make(one_speaker_probability=1.0, **QUIET))
  np.testing.assert_array_equal(alone["tokens_length"], [[7, 0]] * 200)


@pytest.mark.parametrize("length", [(2600, 0), (0, 0), (30, 20)])
def test_silent_and_short_speakers_are_finite(length):
  found = mixed(make(), parts(np.array(length, np.int32)))
  assert all(np.isfinite(value).all() for value in found.values())


def test_a_batch_keeps_its_other_arrays():
  batch = {
    "sources": jnp.ones((3, 2, TIME)),
    "length": jnp.full((3, 2), 2000),
    "noise_rir": jnp.ones((3, 4)),
    "tokens": jnp.ones((3, 2, 5), jnp.int32),
    "tokens_length": jnp.full((3, 2), 5),
  }
  mix = functools.partial(simulate.simulate_batch, make())
  found = jax.eval_shape(lambda batch: mix(batch, keys=KEYS[:3]), batch)
  assert {"tokens", "tokens_length", "start"} <= set(found)
  assert "noise_rir" not in found


def test_simulations_are_values():
  simulation = make(room=simulate.RandomRoom(), sir_db=3)
  classes = {
    name: getattr(simulate, name)
    for name in ("OverlapSimulation", "RandomRoom")
  }
  assert json_values.decode(json_values.encode(simulation), classes) == (
    simulation
  )


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"overlap_weights": (1, 0, 0)}, "four numbers"),
    ({"overlap_weights": (0.0, 0.0, 0.0, 0.0)}, "four numbers"),
    ({"one_speaker_probability": 2.0}, "one_speaker_probability"),
    ({"max_gap_s": -1.0}, "max_gap_s"),
  ],
)
@pytest.mark.usefixtures("unchecked")
def test_impossible_options_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    make(**options)


def test_three_speakers_are_refused():
  ingredients = {"sources": np.ones((3, 9), np.float32), "length": [9, 9, 9]}
  with pytest.raises(ValueError, match="two speakers"):
    make()(KEYS[0], ingredients)
