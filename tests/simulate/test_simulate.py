"""Mixtures: what they are the sum of, and how their parts are placed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxsep import simulate

KEY = jax.random.key(7)


def ingredients(time=4000, num_sources=2, seed=0, taps=300):
  rng = np.random.default_rng(seed)
  delays = np.where(np.arange(taps) < 20, 0, np.exp(-np.arange(taps) / 60))
  return {
    "sources": 0.1 * rng.standard_normal((num_sources, time)).astype("float32"),
    "length": np.linspace(time, time * 0.7, num_sources).astype(np.int32),
    "noise": rng.standard_normal(time).astype("float32"),
    "rir": (rng.standard_normal((num_sources, taps)) * delays).astype(
      "float32"
    ),
  }


# Reference.


@pytest.mark.parametrize("early_length", [None, 0, 30])
def test_reverberation_is_convolution(early_length):
  parts = ingredients()
  image, target = simulate.reverberate(
    parts["sources"], parts["rir"], early_length=early_length
  )
  for i in range(2):
    rir, dry = parts["rir"][i].astype(np.float64), parts["sources"][i]
    early = rir.copy()
    if early_length is not None:
      early[np.argmax(np.abs(rir)) + early_length + 1 :] = 0
    np.testing.assert_allclose(
      image[i], np.convolve(dry, rir)[:4000], atol=1e-5
    )
    np.testing.assert_allclose(
      target[i], np.convolve(dry, early)[:4000], atol=1e-5
    )


def test_active_level_leaves_pauses_out():
  rng = np.random.default_rng(1)
  speech = rng.standard_normal(256 * 40)
  speech[256 * 10 : 256 * 30] *= 1e-3
  loud = np.concatenate([speech[: 256 * 10], speech[256 * 30 :]])
  np.testing.assert_allclose(
    simulate.active_rms(speech), np.sqrt(np.mean(loud**2)), rtol=1e-5
  )


def test_two_talkers_differ_as_in_wsj0_2mix():
  # Uniform between -5 and 5 dB, half of it on each: the sum of the two levels
  # stays where it was.
  make = simulate.make_simulator(level_db=-25.0, peak=None)
  parts = ingredients()
  keys = jax.random.split(KEY, 400)
  reference = jax.vmap(make, (0, None))(keys, parts)["reference"][..., :2800]
  levels = 10 * np.log10(np.mean(np.square(reference), -1))
  difference = levels[:, 0] - levels[:, 1]
  assert np.abs(difference).max() < 5.05
  assert abs(difference.mean()) < 0.6
  np.testing.assert_allclose(difference.std(), 10 / np.sqrt(12), rtol=0.1)
  np.testing.assert_allclose(levels.mean(-1), -25.0, atol=0.1)


# Law.


@pytest.mark.parametrize("rest", [256, 2048, 100_003])
def test_padding_changes_no_active_level(rest):
  # Pauses 20 dB down count as little after it as before.
  rng = np.random.default_rng(2)
  speech = np.repeat([1.0, 0.1, 1.0, 0.1], 512) * np.sign(rng.normal(size=2048))
  speech = speech.astype(np.float32)
  level = simulate.active_rms(speech)
  np.testing.assert_allclose(level, 1.0, rtol=1e-6)
  padded = np.pad(speech, (0, rest))
  np.testing.assert_allclose(simulate.active_rms(padded), level, rtol=1e-6)
  # What a convolution by transforms leaves there is padding as well.
  padded[2048:] = 1e-7 * rng.normal(size=rest)
  np.testing.assert_allclose(simulate.active_rms(padded), level, rtol=1e-6)


@pytest.mark.parametrize("overlap", ["min", "max", "partial"])
@pytest.mark.parametrize("early_ms", [None, 5.0])
def test_a_mixture_is_the_sum_of_its_parts(overlap, early_ms):
  options = dict(
    overlap=overlap,
    noise_snr_db=(0, 15),
    mixture_gain_db=(-6, 6),
    flip_polarity=True,
    peak=0.3,
  )
  parts = ingredients(num_sources=3)
  mixed = simulate.make_simulator(
    early_ms=early_ms, sample_rate_hz=8000, **options
  )(KEY, parts)
  assert ("late" in mixed) == (early_ms is not None)
  late = mixed.get("late", jnp.zeros(4000))
  np.testing.assert_allclose(
    mixed["mixture"],
    mixed["reference"].sum(0) + mixed["noise"] + late,
    atol=1e-6,
  )
  if early_ms is not None:
    # The whole response as the target: what is missing is the late part.
    whole = simulate.make_simulator(**options)(KEY, parts)
    scale = jnp.max(jnp.abs(mixed["noise"])) / jnp.max(jnp.abs(whole["noise"]))
    wanted = scale * whole["reference"].sum(0) - mixed["reference"].sum(0)
    assert jnp.max(jnp.abs(wanted)) > 1e-3
    np.testing.assert_allclose(late, wanted, atol=1e-6)
  end = int(mixed["length"])
  for name in set(mixed) - {"length"}:
    assert jnp.max(jnp.abs(mixed[name])) <= 0.3 + 1e-6
    assert (mixed[name][..., end:] == 0).all()


@pytest.mark.parametrize(("overlap", "end"), [("min", 2800), ("max", 4000)])
def test_min_cuts_and_max_pads(overlap, end):
  parts = ingredients()
  mix = simulate.make_simulator(
    overlap=overlap, snr_db=0, level_db=None, peak=None
  )
  del parts["rir"]
  mixed = mix(KEY, parts)
  assert mixed["length"] == end and mixed["length"].dtype == jnp.int32
  for i, length in enumerate(parts["length"]):
    kept = min(length, end)
    np.testing.assert_array_equal(
      mixed["reference"][i, :kept], parts["sources"][i, :kept]
    )
    assert (mixed["reference"][i, kept:] == 0).all()


@settings(max_examples=25, deadline=None)
@given(
  st.integers(0, 2**32 - 1),
  st.lists(st.integers(1, 300), min_size=3, max_size=3).map(np.array),
  st.floats(0, 1, width=32),
)
def test_partial_overlap_keeps_every_talker_in_one_piece(seed, lengths, ratio):
  time = 300
  sources = (np.arange(time) < lengths[:, None]) * np.float32(1)
  placed, end = simulate.place_partial(
    jax.random.key(seed), sources, lengths, overlap_ratio=ratio
  )
  placed = np.asarray(placed)
  kept = placed.sum(-1).astype(int)
  for row, count in zip(placed, kept, strict=True):
    start = np.argmax(row)
    assert row[start : start + count].all()
  assert end == np.flatnonzero(placed.sum(0))[-1] + 1
  if lengths.sum() <= time:
    np.testing.assert_array_equal(kept, lengths)
  # One factor for all, to a sample, and only where time is short.
  factor = np.max(kept / lengths)
  assert (np.abs(kept - factor * lengths) <= 3 + lengths / lengths.max()).all()
  if ratio == 0:
    assert kept.sum() == end >= min(lengths.sum(), time - 6)


def test_partial_overlap_shares_what_was_asked_for():
  sources, lengths = np.ones((2, 1000), np.float32), np.array([500, 400])
  for seed in range(4):
    for ratio in (0.0, 0.3, 1.0):
      placed, end = simulate.place_partial(
        jax.random.key(seed), sources, lengths, overlap_ratio=ratio
      )
      shared = int(np.sum(np.sum(np.asarray(placed), 0) == 2))
      assert shared == round(400 * ratio)
      assert end == 900 - shared


@pytest.mark.parametrize("wanted", [-5.0, 0.0, 20.0])
def test_noise_has_the_snr_asked_for(wanted):
  parts = ingredients()
  mix = simulate.make_simulator(noise_snr_db=wanted, overlap="max")
  mixed = mix(KEY, parts)
  speech = simulate.active_rms(mixed["mixture"] - mixed["noise"])
  ratio = 20 * np.log10(speech / simulate.active_rms(mixed["noise"]))
  np.testing.assert_allclose(ratio, wanted, atol=1e-3)


def test_ranges_are_covered_and_kept():
  keys = jax.random.split(KEY, 200)
  parts = ingredients()
  del parts["rir"]
  mix = simulate.make_simulator(
    level_db=None, snr_db=0, gain_db=(-3, 6), flip_polarity=True, peak=None
  )
  reference = jax.vmap(mix, (0, None))(keys, parts)["reference"]
  gain = np.asarray(reference)[:, :, 100] / parts["sources"][:, 100]
  decibels = 20 * np.log10(np.abs(gain))
  assert -3 <= decibels.min() < -2.5 and 5.5 < decibels.max() <= 6
  assert 0.4 < np.mean(gain > 0) < 0.6
  # Talkers are drawn apart.
  assert abs(np.corrcoef(decibels.T)[0, 1]) < 0.2


def test_key_decides_and_nothing_else():
  parts = ingredients()
  mix = simulate.make_simulator(overlap="partial", noise_snr_db=(0, 20))
  first, again, other = (
    mix(KEY, parts),
    mix(KEY, parts),
    mix(jax.random.key(8), parts),
  )
  np.testing.assert_array_equal(first["mixture"], again["mixture"])
  assert np.abs(first["mixture"] - other["mixture"]).max() > 1e-3


# Edge.


@pytest.mark.parametrize("overlap", ["min", "max", "partial"])
@pytest.mark.parametrize(
  "silent", ["none", "source", "sources", "noise", "rir", "length", "one"]
)
def test_silence_and_emptiness_are_finite_with_gradients(overlap, silent):
  parts = ingredients(time=600)
  if silent == "source":
    parts["sources"][0] = 0
  elif silent == "one":
    parts["length"][:] = 1
  elif silent != "none":
    parts[silent][:] = 0
  mix = simulate.make_simulator(
    overlap=overlap,
    noise_snr_db=(0, 10),
    early_ms=2,
    sample_rate_hz=8000,
    peak=0.01,
  )

  def power(signals):
    mixed = mix(KEY, {**parts, **signals})
    total = jnp.sum(mixed["mixture"] ** 2) + jnp.sum(mixed["reference"] ** 2)
    return total, mixed

  signals = {name: parts[name] for name in ("sources", "noise", "rir")}
  gradient, mixed = jax.grad(power, has_aux=True)(signals)
  for value in jax.tree.leaves((gradient, mixed)):
    assert np.isfinite(value).all()
  if silent in ("sources", "rir"):
    assert (mixed["mixture"] == 0).all()


@pytest.mark.parametrize(
  "span", [np.int64(3), np.float32(3), jnp.array(3), (jnp.float32(3), 3)]
)
def test_numbers_of_numpy_and_jax_are_ranges(span):
  one = jnp.ones(256)
  gain = simulate.noise_gain(KEY, one, one, snr_db=span)
  np.testing.assert_allclose(gain, 10 ** (-3 / 20), rtol=1e-6)


def test_one_source_and_no_extras():
  parts = ingredients(num_sources=1)
  mixed = simulate.make_simulator(overlap="partial")(
    KEY, {name: parts[name] for name in ("sources", "length")}
  )
  assert set(mixed) == {"mixture", "reference", "length"}
  np.testing.assert_array_equal(mixed["mixture"], mixed["reference"][0])


def test_loud_mixtures_are_turned_down_and_quiet_ones_left():
  parts = ingredients()
  loud = simulate.make_simulator(level_db=0, peak=0.9)(KEY, parts)
  top = max(jnp.max(jnp.abs(loud[name])) for name in ("mixture", "reference"))
  np.testing.assert_allclose(top, 0.9, rtol=1e-6)
  quiet = simulate.make_simulator(level_db=-40, peak=0.9)(KEY, parts)
  free = simulate.make_simulator(level_db=-40, peak=None)(KEY, parts)
  np.testing.assert_array_equal(quiet["mixture"], free["mixture"])


# Transform.


def batch_of(size, **options):
  rows = [ingredients(seed=i, **options) for i in range(size)]
  batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
  batch["index"] = np.arange(100, 100 + size, dtype=np.uint32)
  batch["mask"] = np.arange(size) != 5
  return batch


def test_batch_equals_stack_and_shards():
  mix = simulate.make_simulator(overlap="partial", noise_snr_db=(0, 20))
  batch = batch_of(8)

  def run(batch):
    return simulate.simulate_batch(mix, batch, key=KEY)

  whole = run(batch)
  assert set(whole) == {
    *("mixture", "reference", "noise", "length", "index", "mask")
  }
  for i in (0, 7):
    row = {name: value[i] for name, value in batch.items()}
    one = mix(jax.random.fold_in(KEY, row["index"]), row)
    np.testing.assert_allclose(whole["mixture"][i], one["mixture"], atol=1e-6)
  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  place = NamedSharding(mesh, PartitionSpec("data"))
  sharded = jax.jit(run)(jax.device_put(batch, place))
  np.testing.assert_allclose(sharded["mixture"], whole["mixture"], atol=1e-6)
  assert len(sharded["mixture"].sharding.device_set) == 8


def test_fixed_examples_do_not_depend_on_the_batch_size():
  mix = simulate.make_simulator(
    overlap="min", noise_snr_db=10, early_ms=5, sample_rate_hz=8000
  )
  batch = batch_of(6)
  halves = [
    {name: value[part] for name, value in batch.items()}
    for part in (slice(0, 3), slice(3, 6))
  ]
  whole = list(simulate.fixed_examples(mix, [batch], key=KEY))
  parts = list(simulate.fixed_examples(mix, halves, key=KEY))
  assert [int(example["index"]) for example in whole] == list(range(100, 105))
  for a, b in zip(whole, parts, strict=True):
    assert isinstance(a["mixture"], np.ndarray)
    assert a["mixture"].shape == (2800,) and a["reference"].shape == (2, 2800)
    assert a["noise"].shape == a["late"].shape == (2800,)
    for name in a:
      np.testing.assert_array_equal(a[name], b[name])


# Failure.


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"overlap": "some"}, "overlap 'some'"),
    ({"overlap_ratio": (0, 2)}, "within 0 and 1"),
    ({"snr_db": (5, -5)}, r"snr_db \(5, -5\)"),
    ({"gain_db": (1, 2, 3)}, "gain_db"),
    ({"gain_db": (1,)}, "gain_db"),
    ({"gain_db": np.array([2, 1])}, "gain_db"),
    ({"noise_snr_db": (3, 1)}, "noise_snr_db"),
    ({"early_ms": 50}, "sample_rate_hz"),
    ({"early_ms": -1, "sample_rate_hz": 8000}, "not be negative"),
    ({"peak": 0}, "peak 0"),
  ],
)
def test_options_are_checked(options, message):
  with pytest.raises(ValueError, match=message):
    simulate.make_simulator(**options)


@pytest.mark.parametrize(
  ("changed", "message"),
  [
    ({"sources": jnp.ones(9)}, "one example"),
    ({"length": jnp.ones((2, 1), int)}, "one example"),
    ({"noise": jnp.ones(9)}, r"noise \(9,\)"),
    ({"rir": jnp.ones((3, 9))}, r"rir \(3, 9\)"),
  ],
)
def test_ingredients_are_checked(changed, message):
  with pytest.raises(ValueError, match=message):
    simulate.make_simulator()(KEY, {**ingredients(), **changed})


def test_early_length_is_checked():
  with pytest.raises(ValueError, match="must not be negative"):
    simulate.early_response(jnp.ones(4), early_length=-1)


@pytest.mark.parametrize("time", [1, 2])
def test_talkers_in_turn_need_room(time):
  with pytest.raises(ValueError, match="more samples than talkers"):
    simulate.place_partial(KEY, jnp.ones((2, time)), jnp.array([1, 1]))
