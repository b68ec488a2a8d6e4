"""Mixtures: what they are the sum of, and how their parts are placed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxsep import simulate

KEY = jax.random.key(7)


def make(**options):
  return simulate.Simulation(8000, **options)


def ingredients(time=4000, num_sources=3, seed=0, taps=300):
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
  for i in range(3):
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
    simulate.active_rms(speech, sample_rate_hz=8000),
    np.sqrt(np.mean(loud**2)),
    rtol=1e-5,
  )


def test_two_speakers_differ_as_in_wsj0_2mix():
  # Uniform between -5 and 5 dB, half of it on each: the sum of the two levels
  # stays where it was.
  parts = ingredients(num_sources=2)
  keys = jax.random.split(KEY, 400)
  mixed = jax.jit(jax.vmap(make(peak=None), (0, None)))(keys, parts)
  levels = 10 * np.log10(np.mean(np.square(mixed["reference"])[..., :2800], -1))
  difference = levels[:, 0] - levels[:, 1]
  assert np.abs(difference).max() < 5.05
  assert abs(difference.mean()) < 0.6
  np.testing.assert_allclose(difference.std(), 10 / np.sqrt(12), rtol=0.1)
  np.testing.assert_allclose(levels.mean(-1), -25.0, atol=0.1)


# Law.


def pulsed(sample_rate_hz):
  """Bursts of 20 ms every 100 ms, equal in seconds at every rate."""
  time = np.arange(sample_rate_hz) / sample_rate_hz
  burst = np.sin(2 * np.pi * 150 * time) * (time % 0.1 < 0.02)
  return burst.astype(np.float32)


def test_equal_seconds_have_equal_levels_at_every_rate():
  levels = np.array(
    [
      simulate.active_rms(pulsed(rate), sample_rate_hz=rate)
      for rate in (8000, 16000, 48000)
    ]
  )
  np.testing.assert_allclose(20 * np.log10(levels / levels[0]), 0, atol=0.05)


def test_equal_seconds_are_mixed_alike_at_every_rate():
  gains = []
  for rate in (8000, 16000, 48000):
    steady = np.sin(2 * np.pi * 200 / rate * np.arange(rate)).astype(np.float32)
    parts = {
      "sources": np.stack([pulsed(rate), steady]),
      "length": np.array([rate, rate]),
      "noise": 0.5 * steady,
    }
    mixed = simulate.Simulation(rate, noise_snr_db=5, peak=None)(KEY, parts)
    level = [np.std(mixed["reference"], axis=-1), [np.std(mixed["noise"])]]
    gains.append(20 * np.log10(np.concatenate(level)))
  np.testing.assert_allclose(gains, [gains[0]] * 3, atol=0.05)


def test_padding_changes_no_active_level():
  # Pauses 20 dB down count as little after it as before.
  rng = np.random.default_rng(2)
  speech = np.repeat([1.0, 0.1, 1.0, 0.1], 512) * np.sign(rng.normal(size=2048))
  padded = np.pad(speech.astype(np.float32), (0, 10_003))
  for noise in (0.0, 1e-7):
    # What a convolution by transforms leaves there is padding as well.
    padded[2048:] = noise * rng.normal(size=10_003)
    level = simulate.active_rms(padded, sample_rate_hz=8000)
    np.testing.assert_allclose(level, 1.0, rtol=1e-6)


@pytest.mark.parametrize("overlap", ["min", "max", "partial"])
@pytest.mark.parametrize("early_ms", [None, 5.0])
def test_a_mixture_is_the_sum_of_its_parts(overlap, early_ms):
  options = dict(
    overlap=overlap,
    noise_snr_db=(0, 15),
    mixture_gain_db=(-6, 6),
    flip_polarity=True,
    pause_probability=0.7,
    peak=0.3,
  )
  parts = ingredients()
  mixed = jax.tree.map(
    np.asarray, make(early_ms=early_ms, **options)(KEY, parts)
  )
  assert ("late" in mixed) == (early_ms is not None)
  late = mixed.get("late", np.zeros(4000))
  np.testing.assert_allclose(
    mixed["mixture"],
    mixed["reference"].sum(0) + mixed["noise"] + late,
    atol=1e-6,
  )
  if early_ms is not None:
    # The whole response as the target: what is missing is the late part.
    whole = jax.tree.map(np.asarray, make(**options)(KEY, parts))
    scale = np.max(np.abs(mixed["noise"])) / np.max(np.abs(whole["noise"]))
    wanted = scale * whole["reference"].sum(0) - mixed["reference"].sum(0)
    assert np.max(np.abs(wanted)) > 1e-3
    np.testing.assert_allclose(late, wanted, atol=1e-6)
  end = int(mixed["length"])
  for name in set(mixed) - {"length"}:
    assert np.max(np.abs(mixed[name])) <= 0.3 + 1e-6
    assert (mixed[name][..., end:] == 0).all()


@pytest.mark.parametrize(("overlap", "end"), [("min", 2800), ("max", 4000)])
def test_min_cuts_and_max_pads(overlap, end):
  parts = ingredients()
  mix = make(overlap=overlap, snr_db=0, level_db=None, peak=None)
  del parts["rir"]
  mixed = mix(KEY, parts)
  assert mixed["length"] == end and mixed["length"].dtype == jnp.int32
  for i, length in enumerate(parts["length"]):
    kept = min(length, end)
    reference = np.asarray(mixed["reference"])[i]
    np.testing.assert_array_equal(reference[:kept], parts["sources"][i, :kept])
    assert (reference[kept:] == 0).all()


def placed(seed, lengths, ratio, time=300):
  """Speakers of ones, overlapping in part, and the length of the mixture."""
  simulation = make(
    overlap="partial", overlap_ratio=ratio, level_db=None, snr_db=0, peak=None
  )
  sources = (np.arange(time) < lengths[:, None]) * np.float32(1)
  parts = {"sources": sources, "length": lengths}
  mixed = simulation(jax.random.key(seed), parts)
  return np.asarray(mixed["reference"]), int(mixed["length"])


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(
  "lengths",
  [(100, 80, 30), (300,) * 3, (1, 300, 2), (250, 9, 120), (300,) * 10],
)
def test_partial_overlap_keeps_every_speaker_in_one_piece(lengths, ratio):
  time, lengths = 300, np.array(lengths)
  for seed in range(3):
    rows, end = placed(seed, lengths, ratio)
    kept = rows.sum(-1).astype(int)
    for row, count in zip(rows, kept, strict=True):
      start = np.argmax(row)
      assert row[start : start + count].all()
    assert end == np.flatnonzero(rows.sum(0))[-1] + 1
    if lengths.sum() <= time:
      np.testing.assert_array_equal(kept, lengths)
    # One factor for all, to a sample, and only where time is short.
    factor = np.max(kept / lengths)
    assert (kept >= np.floor(factor * lengths - 1e-6)).all()
    if ratio == 0:
      assert kept.sum() == end >= min(lengths.sum(), time - 2 * len(lengths))


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_partial_overlap_shares_what_was_asked_for(ratio):
  rows, end = placed(3, np.array([100, 80]), ratio)
  shared = int(np.sum(rows.sum(0) == 2))
  assert shared == round(80 * ratio)
  assert end == 180 - shared


def test_pauses_silence_speakers_and_leave_levels():
  parts = ingredients() | {"length": np.full(3, 4000)}
  keys = jax.random.split(KEY, 500)
  options = dict(noise_snr_db=(0, 15), peak=None)
  mix = jax.vmap(make(**options), (0, None))
  mix_paused = jax.vmap(make(pause_probability=0.4, **options), (0, None))
  without, mixed = (
    jax.tree.map(np.asarray, jax.jit(f)(keys, parts)) for f in (mix, mix_paused)
  )
  np.testing.assert_array_equal(mixed["noise"], without["noise"])
  reference, whole = mixed["reference"], without["reference"]
  kept = reference == whole
  silent = (reference == 0) & (whole != 0)
  # Neither where a pause begins or ends.
  fading = ~kept & ~silent
  assert fading.mean() < 2 * 0.4 * 160 / 4000
  paused = silent.any(-1)
  # One of eight drawn pauses lies wholly before or after the mixture.
  assert abs(paused.mean() - 0.4 * 7 / 8) < 0.05
  assert abs((reference == 0).all(-1).mean() - 0.4 / 8) < 0.02


@pytest.mark.parametrize("wanted", [-5.0, 20.0])
def test_noise_has_the_snr_asked_for(wanted):
  parts = ingredients()
  # What is past the end of the mixture does not count.
  parts["noise"][2800:] *= 10
  mixed = make(noise_snr_db=wanted, overlap="min")(KEY, parts)
  signals = np.stack([mixed["mixture"] - mixed["noise"], mixed["noise"]])
  speech, noise = simulate.active_rms(signals, sample_rate_hz=8000)
  ratio = 20 * np.log10(speech / noise)
  np.testing.assert_allclose(ratio, wanted, atol=1e-3)


def test_ranges_are_covered_and_kept():
  keys = jax.random.split(KEY, 200)
  parts = ingredients()
  del parts["rir"]
  mix = make(
    level_db=None, snr_db=0, gain_db=(-3, 6), flip_polarity=True, peak=None
  )
  reference = jax.vmap(mix, (0, None))(keys, parts)["reference"]
  gain = np.asarray(reference)[:, :, 100] / parts["sources"][:, 100]
  decibels = 20 * np.log10(np.abs(gain))
  assert -3 <= decibels.min() < -2.5 and 5.5 < decibels.max() <= 6
  assert 0.4 < np.mean(gain > 0) < 0.6
  # Each speaker has its own draw.
  assert abs(np.corrcoef(decibels.T)[0, 1]) < 0.2


# Edge.


@functools.cache
def with_gradients(overlap):
  """A mixture, and the gradients of its power, as one program."""
  mix = make(overlap=overlap, noise_snr_db=(0, 10), early_ms=2, peak=0.01)

  def power(signals, length):
    mixed = mix(KEY, {**signals, "length": length})
    total = jnp.sum(mixed["mixture"] ** 2) + jnp.sum(mixed["reference"] ** 2)
    return total, mixed

  return jax.jit(jax.grad(power, has_aux=True))


@pytest.mark.parametrize("overlap", ["min", "max", "partial"])
@pytest.mark.parametrize(
  "silent", ["none", "source", "sources", "noise", "rir", "length", "one"]
)
def test_silence_and_emptiness_are_finite_with_gradients(overlap, silent):
  parts = ingredients(time=600, num_sources=2)
  if silent == "source":
    parts["sources"][0] = 0
  elif silent == "one":
    parts["length"][:] = 1
  elif silent != "none":
    parts[silent][:] = 0
  length = parts.pop("length")
  gradient, mixed = with_gradients(overlap)(parts, length)
  for value in jax.tree.leaves((gradient, mixed)):
    assert np.isfinite(value).all()
  if silent in ("sources", "rir"):
    assert (mixed["mixture"] == 0).all()


def test_it_is_a_value():
  assert make(gain_db=3) == make(gain_db=[3, 3.0]) != make(gain_db=4)
  assert len({make(snr_db=(-5, 5)), make()}) == 1


def test_one_source_and_no_extras():
  parts = ingredients(num_sources=1)
  mixed = make(overlap="partial")(
    KEY, {name: parts[name] for name in ("sources", "length")}
  )
  assert set(mixed) == {"mixture", "reference", "length"}
  np.testing.assert_array_equal(mixed["mixture"], mixed["reference"][0])


def test_loud_mixtures_are_turned_down_and_quiet_ones_left():
  parts = ingredients()
  loud = make(level_db=0, peak=0.9)(KEY, parts)
  top = max(np.max(np.abs(loud[name])) for name in ("mixture", "reference"))
  np.testing.assert_allclose(top, 0.9, rtol=1e-6)
  # Targets of opposite sign are louder than their sum.
  opposite = parts["sources"][0] * np.float32([[1], [-0.9]])
  opposite = {"sources": opposite, "length": parts["length"][:2]}
  loud = make(level_db=0, peak=0.9)(KEY, opposite)
  assert np.max(np.abs(loud["mixture"])) < 0.85
  np.testing.assert_allclose(np.max(np.abs(loud["reference"])), 0.9, rtol=1e-6)
  quiet = make(level_db=-40, peak=0.9)(KEY, parts)
  free = make(level_db=-40, peak=None)(KEY, parts)
  np.testing.assert_array_equal(quiet["mixture"], free["mixture"])


# Transform.


def batch_of(size, **options):
  rows = [ingredients(seed=i, **options) for i in range(size)]
  batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
  batch["index"] = np.arange(100, 100 + size, dtype=np.uint32)
  batch["mask"] = np.arange(size) != 5
  return batch


def test_batch_equals_stack_and_shards():
  mix = make(overlap="partial", noise_snr_db=(0, 20))
  batch = batch_of(8)

  @jax.jit
  def run(batch):
    keys = jax.vmap(jax.random.fold_in, (None, 0))(KEY, batch["index"])
    return simulate.simulate_batch(mix, batch, keys=keys)

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
  sharded = run(jax.device_put(batch, place))
  np.testing.assert_allclose(sharded["mixture"], whole["mixture"], atol=1e-6)
  assert len(sharded["mixture"].sharding.device_set) == 8


def test_a_simulation_of_the_user_is_given_all_arrays():
  def add_music(key, ingredients):
    return {"mixture": ingredients["sources"][0] + ingredients["music"]}

  batch = batch_of(2)
  batch["music"] = np.full((2, 4000), 0.5, np.float32)
  keys = jax.random.split(KEY, 2)
  mixed = simulate.simulate_batch(add_music, batch, keys=keys)
  assert set(mixed) == {"mixture", "music", "index", "mask"}
  np.testing.assert_allclose(mixed["mixture"], batch["sources"][:, 0] + 0.5)


# Failure.


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"overlap": "some"}, "overlap 'some'"),
    ({"overlap_ratio": (0, 2)}, "within 0 and 1"),
    ({"snr_db": (5, -5)}, r"snr_db \(5, -5\)"),
    ({"gain_db": (1, 2, 3)}, "gain_db"),
    ({"gain_db": (1,)}, "gain_db"),
    ({"noise_snr_db": (3, 1)}, "noise_snr_db"),
    ({"pause_probability": 1.5}, "pause_probability 1.5"),
    ({"early_ms": -1}, "early_ms -1 must not be negative"),
    ({"peak": 0}, "peak 0"),
    ({"sample_rate_hz": 0}, "sample_rate_hz 0 must be positive"),
    ({"source_filter": simulate.Filter("lowpass", 4000)}, "sample rate, 4000"),
  ],
)
def test_options_are_checked(options, message):
  with pytest.raises(ValueError, match=message):
    simulate.Simulation(**{"sample_rate_hz": 8000, **options})


@pytest.mark.parametrize(
  ("changed", "message"),
  [
    ({"sources": jnp.ones(9)}, "one example"),
    ({"length": jnp.ones((3, 1), int)}, "one example"),
    ({"noise": jnp.ones(9)}, r"noise \(9,\)"),
    ({"rir": jnp.ones((2, 9))}, r"rir \(2, 9\)"),
  ],
)
def test_ingredients_are_checked(changed, message):
  with pytest.raises(ValueError, match=message):
    make()(KEY, {**ingredients(), **changed})


def test_speakers_in_turn_need_room():
  with pytest.raises(ValueError, match="more samples than speakers"):
    placed(0, np.array([1, 1]), 0.5, time=2)
