"""Alternating tones and the gaps in them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsep import simulate

RATE_HZ = 8000
KEY = jax.random.key(3)
SETS = [(1, 2, 3), (4, 5, 6, 7, 8), (1, 2, 3, 5), tuple(range(1, 11))]


def tones(key=KEY, *, num_samples=16000, **options):
  return simulate.alternating_tones(
    key, num_samples=num_samples, sample_rate_hz=RATE_HZ, **options
  )


def bursts(train, period_s):
  """The bursts of a train as rows, `[num_bursts, samples]`."""
  length = round(period_s * RATE_HZ / 2)
  rows = len(train) // length
  return np.asarray(train)[: rows * length].reshape(rows, length)


# Reference.


@pytest.mark.parametrize("harmonics", SETS, ids=str)
@pytest.mark.parametrize("amplitude", ["equal", "inverse"])
def test_partials_are_those_asked_for(harmonics, amplitude):
  # One burst lasts a second: 1 Hz bins, and all partials are whole numbers.
  made = tones(
    harmonics=harmonics,
    amplitude=amplitude,
    period_s=2.0,
    ramp_s=0.0,
    level_db=-20.0,
  )
  for tone, f0_hz in enumerate((117, 201)):
    second = np.asarray(made["reference"][tone]).reshape(2, RATE_HZ)[tone]
    spectrum = np.abs(np.fft.rfft(second.astype(float)))
    wanted = np.array(harmonics) * f0_hz
    heard = np.flatnonzero(spectrum > 1e-4 * spectrum.max())
    np.testing.assert_array_equal(heard, wanted)
    weights = np.ones(len(wanted))
    if amplitude == "inverse":
      weights = 1 / np.array(harmonics)
    ratios = spectrum[wanted] / spectrum[wanted[0]]
    np.testing.assert_allclose(ratios, weights / weights[0], rtol=1e-4)


def test_partials_do_not_drift_within_minutes():
  made = tones(
    harmonics=(10,), period_s=240.0, ramp_s=0.0, num_samples=120 * RATE_HZ
  )
  last = np.asarray(made["reference"][0])[-RATE_HZ:].astype(float)
  first = np.asarray(made["reference"][0])[:RATE_HZ].astype(float)
  np.testing.assert_allclose(last, first, atol=1e-5 * np.abs(first).max())


@pytest.mark.parametrize("period_s", [0.03, 0.125])
@pytest.mark.parametrize("ramp_s", [0.0, 0.002])
def test_tones_take_turns(period_s, ramp_s):
  made = tones(period_s=period_s, ramp_s=ramp_s)
  low, high = (bursts(train, period_s) for train in made["reference"])
  assert (low[1::2] == 0).all() and (high[0::2] == 0).all()
  assert (np.abs(low[0::2]).max(-1) > 0.01).all()
  assert (np.abs(high[1::2]).max(-1) > 0.01).all()


def test_ramps_are_raised_cosines():
  sharp, soft = (
    np.asarray(tones(ramp_s=ramp_s)["reference"][0, :248])
    for ramp_s in (0.0, 0.002)
  )
  gate = np.ones(248)
  gate[:16] = 0.5 - 0.5 * np.cos(np.pi * (np.arange(16) + 0.5) / 16)
  gate[-16:] = gate[:16][::-1]
  loud = np.abs(sharp) > 1e-3
  ratio = soft[loud] / sharp[loud]
  np.testing.assert_allclose(ratio / ratio.max(), gate[loud], atol=1e-3)


# Law.


@pytest.mark.parametrize("level_db", [-40.0, -6.0])
def test_level_is_that_of_the_mixture(level_db, harmonics=SETS[1]):
  made = tones(level_db=level_db, harmonics=harmonics)
  level = 20 * np.log10(np.sqrt(np.mean(np.square(made["mixture"]))))
  assert level == pytest.approx(level_db, abs=1e-3)
  np.testing.assert_allclose(
    made["mixture"], np.sum(made["reference"], axis=0), atol=1e-7
  )


def test_keys_draw_phases_only():
  first, second = (tones(jax.random.key(seed)) for seed in (0, 1))
  again = tones(jax.random.key(0))
  np.testing.assert_array_equal(first["mixture"], again["mixture"])
  assert np.abs(first["mixture"] - second["mixture"]).max() > 0.01
  heard = [
    np.abs(bursts(t["reference"][0], 0.062)).max(-1) > 0
    for t in (first, second)
  ]
  np.testing.assert_array_equal(*heard)


@pytest.mark.parametrize("tone", [0, 1])
@pytest.mark.parametrize("gap_s", [0.01, 0.1])
@pytest.mark.parametrize("period_s", [0.03, 0.125])
def test_gap_mutes_its_tone(tone, gap_s, period_s):
  made = tones(period_s=period_s, ramp_s=0.0)
  burst = int(simulate.burst_length(period_s, sample_rate_hz=RATE_HZ))
  gap = round(gap_s * RATE_HZ)
  for seed in range(5):
    starts = simulate.gap_starts(
      jax.random.key(seed),
      tones=(tone, tone, tone),
      num_samples=16000,
      sample_rate_hz=RATE_HZ,
      gap_s=gap_s,
      period_s=period_s,
    )
    assert (np.diff(starts) > gap).all()
    assert starts[0] >= 0.3 * RATE_HZ
    assert starts[-1] + gap <= 16000 - 0.3 * RATE_HZ
    muted = np.asarray(simulate.mute(made["reference"], starts, gap))
    lost = np.sum(np.square(made["reference"]) - np.square(muted), axis=-1)
    assert lost[tone] > 0
    if gap <= burst:
      assert lost[1 - tone] == 0
    else:
      # From the onset on: no other tone is muted for longer.
      np.testing.assert_array_equal(starts % (2 * burst), tone * burst)


def test_gaps_are_somewhere_else_for_another_key():
  drawn = {
    tuple(
      simulate.gap_starts(
        jax.random.key(seed),
        tones=(0, 0, 0),
        num_samples=16000,
        sample_rate_hz=RATE_HZ,
        gap_s=0.01,
      ).tolist()
    )
    for seed in range(8)
  }
  assert len(drawn) == 8
  shifts = {start % 496 for starts in drawn for start in starts}
  assert len(shifts) > 8 and max(shifts) <= 248 - 80


@pytest.mark.parametrize("period_s", [0.03, 0.125])
def test_gaps_mute_tones_in_turn_and_keep_their_distance(period_s):
  burst = int(simulate.burst_length(period_s, sample_rate_hz=RATE_HZ))
  for seed in range(20):
    starts = simulate.gap_starts(
      jax.random.key(seed),
      tones=(0, 1, 1, 0),
      num_samples=24000,
      sample_rate_hz=RATE_HZ,
      gap_s=0.05,
      period_s=period_s,
      margin_s=0.5,
      spacing_s=0.15,
    )
    np.testing.assert_array_equal(starts // burst % 2, [0, 1, 1, 0])
    assert (np.diff(starts) >= 0.2 * RATE_HZ).all()
    assert starts[0] >= 4000 and starts[-1] + 0.05 * RATE_HZ <= 20000


def test_mute_multiplies_by_zero():
  signal = jnp.arange(1.0, 21.0).reshape(2, 10)
  muted = simulate.mute(signal, jnp.array([1, 6]), 3)
  kept = np.array([1, 0, 0, 0, 1, 1, 0, 0, 0, 1])
  np.testing.assert_array_equal(muted, np.asarray(signal) * kept)


# Edge.


def test_ramps_longer_than_a_burst_still_sound():
  made = tones(ramp_s=1.0)
  assert (np.abs(bursts(made["reference"][0], 0.062))[::2].max(-1) > 0).all()


def test_three_tones_take_turns():
  made = tones(f0_hz=(100.0, 150.0, 210.0), harmonics=(1, 2), period_s=0.06)
  heard = [
    np.abs(np.asarray(train)[:15840]).reshape(-1, 160).max(-1) > 0
    for train in made["reference"]
  ]
  for tone, on in enumerate(heard):
    np.testing.assert_array_equal(on, np.arange(99) % 3 == tone)


def test_mute_also_replaces_nan():
  signal = jnp.array([1.0, jnp.nan, 1.0])
  np.testing.assert_array_equal(
    simulate.mute(signal, jnp.array([1]), 1), [1.0, 0.0, 1.0]
  )


# Transform.


def test_periods_and_gaps_may_be_traced():
  @jax.jit
  def make(key, period_s, gap_s):
    made = tones(key, period_s=period_s)
    starts = simulate.gap_starts(
      key,
      tones=(0, 0),
      num_samples=16000,
      sample_rate_hz=RATE_HZ,
      gap_s=gap_s,
      period_s=period_s,
    )
    return simulate.mute(
      made["mixture"], starts, jnp.round(gap_s * RATE_HZ).astype(int)
    )

  keys = jax.random.split(KEY, 2)
  periods, gaps = jnp.array([0.04, 0.1]), jnp.array([0.02, 0.05])
  batched = jax.vmap(make)(keys, periods, gaps)
  for row, (key, period_s, gap_s) in enumerate(
    zip(keys, (0.04, 0.1), (0.02, 0.05), strict=True)
  ):
    made = tones(key, period_s=period_s)["mixture"]
    starts = simulate.gap_starts(
      key,
      tones=(0, 0),
      num_samples=16000,
      sample_rate_hz=RATE_HZ,
      gap_s=gap_s,
      period_s=period_s,
    )
    alone = simulate.mute(made, starts, round(gap_s * RATE_HZ))
    np.testing.assert_allclose(batched[row], alone, atol=1e-6)


# Failure.


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"harmonics": (20,)}, "4020 Hz, must lie below half"),
    ({"harmonics": ()}, "neither may be empty"),
    ({"harmonics": (0, 1)}, "from 1 on"),
    ({"harmonics": (2, 2)}, "twice"),
    ({"f0_hz": (-1.0, 100.0)}, "positive"),
    ({"amplitude": "loud"}, "'loud' must be one of"),
    ({"ramp_s": -0.1}, "must not be negative"),
    ({"period_s": -0.1}, "period_s -0.1 must be positive"),
    ({"num_samples": 0}, "must be positive"),
  ],
)
def test_tones_that_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    tones(**options)


@pytest.mark.parametrize("gaps_in", [(2,), (-1,), ()])
def test_gaps_that_are_refused(gaps_in):
  with pytest.raises(ValueError, match="must be 0 or 1 for each gap"):
    simulate.gap_starts(
      KEY, tones=gaps_in, num_samples=8000, sample_rate_hz=RATE_HZ, gap_s=0.02
    )


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"num_samples": 4000, "tones": (0, 1, 0)}, "do not fit into 4000 samples"),
    ({"num_samples": 4800}, "less 0.3 s at both ends: a part of 0 samples"),
    ({"tones": (0, 1) * 20, "gap_s": 0.1}, "40 gaps of 0.1 s, and 0.0 s after"),
    ({"spacing_s": 1.0}, "and 1.0 s after each, do not fit"),
    ({"period_s": 0.0}, "period_s 0.0 must be positive"),
    ({"gap_s": -0.1}, "gap_s must not be negative"),
    ({"margin_s": -0.1}, "margin_s must not be negative"),
  ],
)
def test_gaps_without_room(options, message):
  chosen = {"tones": (0, 1), "num_samples": 16000, "gap_s": 0.031} | options
  draw = functools.partial(
    simulate.gap_starts, sample_rate_hz=RATE_HZ, **chosen
  )
  with pytest.raises(ValueError, match=message):
    draw(KEY)
  # What is compiled around it hides nothing that is known.
  with pytest.raises(ValueError, match=message):
    jax.vmap(draw)(jax.random.split(KEY, 2))
