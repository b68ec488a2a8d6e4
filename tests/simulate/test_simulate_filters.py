"""Filtered examples: mixture and references alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal as scipy_signal

from jaxsep import dsp, simulate
from jaxsep.simulate import Filter

KEY = jax.random.key(7)
RATE = 8000


def ingredients(time=8000, seed=0, taps=200):
  rng = np.random.default_rng(seed)
  decay = np.where(np.arange(taps) < 20, 0, np.exp(-np.arange(taps) / 60))
  return {
    "sources": 0.1 * rng.standard_normal((2, time)).astype("float32"),
    "length": np.array([time, time * 3 // 4]),
    "noise": rng.standard_normal(time).astype("float32"),
    "rir": (rng.standard_normal((2, taps)) * decay).astype("float32"),
  }


def simulation(**options):
  return simulate.Simulation(RATE, **options)


def band_power(signal, low, high):
  """Share of the power between two frequencies."""
  window = scipy_signal.get_window("blackmanharris", signal.shape[-1])
  power = np.abs(np.fft.rfft(np.asarray(signal, np.float64) * window)) ** 2
  hertz = np.fft.rfftfreq(signal.shape[-1], 1 / RATE)
  inside = (hertz >= low) & (hertz <= high)
  return power[..., inside].sum(-1) / power.sum(-1)


# Reference.


@pytest.mark.parametrize(
  ("chosen", "expected"),
  [
    (
      Filter("lowpass", 700),
      lambda x: dsp.butterworth(
        x, band="lowpass", cutoff_hz=700, sample_rate_hz=RATE
      ),
    ),
    (
      Filter("bandstop", [200, 800], order=3),
      lambda x: dsp.butterworth(
        x, band="bandstop", cutoff_hz=(200, 800), sample_rate_hz=RATE, order=3
      ),
    ),
    (
      Filter("highpass", 300, method="fir", fir_s=254 / RATE),
      lambda x: dsp.fir(
        x, band="highpass", cutoff_hz=300, sample_rate_hz=RATE, num_taps=255
      ),
    ),
  ],
)
def test_a_filter_is_the_function_of_its_name(chosen, expected):
  sources = ingredients()["sources"]
  np.testing.assert_array_equal(
    chosen(sources, sample_rate_hz=RATE), expected(sources)
  )


def test_the_transition_band_is_that_of_8_khz_at_16_khz():
  tones = np.sin(
    2 * np.pi * np.array([[270], [330]]) * np.arange(16000) / 16000
  )
  low = Filter("lowpass", 300, method="fir")
  found = low(tones.astype(np.float32), sample_rate_hz=16000)[:, 4000:12000]
  assert np.std(found[0]) == pytest.approx(np.sqrt(0.5), rel=0.01)
  assert np.std(found[1]) < 0.01


# Laws.


@pytest.mark.parametrize(
  ("overlap", "early_ms", "method"),
  [
    ("min", None, "butterworth"),
    ("max", 5.0, "fir"),
    ("partial", 5.0, "butterworth"),
  ],
)
def test_a_filtered_mixture_is_the_sum_of_its_parts(overlap, early_ms, method):
  simulator = simulation(
    overlap=overlap,
    noise_snr_db=(0, 15),
    flip_polarity=True,
    peak=0.1,
    early_ms=early_ms,
    source_filter=Filter("highpass", 700, method=method),
  )
  mixed = jax.jit(simulator)(KEY, ingredients())
  late = mixed.get("late", jnp.zeros(8000))
  np.testing.assert_allclose(
    mixed["mixture"],
    mixed["reference"].sum(0) + mixed["noise"] + late,
    atol=1e-6,
  )
  end = int(mixed["length"])
  for name in set(mixed) - {"length"}:
    assert 0 < jnp.max(jnp.abs(mixed[name])) <= 0.1 + 1e-6
    assert (mixed[name][..., end:] == 0).all()


@pytest.mark.parametrize("parts", [(), ("rir",), ("noise", "rir")])
def test_it_is_the_example_that_would_have_been_filtered(parts):
  chosen = Filter("lowpass", 300)
  given = {
    name: value
    for name, value in ingredients().items()
    if name in ("sources", "length", *parts)
  }
  options = {"overlap": "max", "noise_snr_db": 5.0, "peak": None}
  native = simulation(**options)(KEY, given)
  mixed = simulation(**options, source_filter=chosen)(KEY, given)
  for name in ("mixture", "reference"):
    np.testing.assert_allclose(
      mixed[name], chosen(native[name], sample_rate_hz=RATE), atol=1e-6
    )
  assert jnp.abs(mixed["mixture"] - native["mixture"]).max() > 0.01


@pytest.mark.parametrize(
  ("chosen", "empty"),
  [
    (Filter("lowpass", 300), (600, 4000)),
    (Filter("highpass", 700), (0, 350)),
    (Filter("bandstop", (350, 400)), (372, 378)),
    (Filter("bandstop", (200, 800)), (320, 500)),
    (Filter("bandstop", (200, 800), method="fir"), (230, 770)),
  ],
)
def test_the_stop_band_is_empty(chosen, empty):
  given = ingredients(time=16000)
  given["length"] = np.array([16000, 16000])
  del given["rir"]
  mixed = simulation(source_filter=chosen, noise_snr_db=0.0)(KEY, given)
  for name in ("mixture", "reference", "noise"):
    assert band_power(mixed[name], *empty).max() < 1e-5
    assert band_power(mixed[name], 0, 4000).min() > 0.99


def test_equal_filters_are_equal_and_hashable():
  assert Filter("bandstop", [350, 400]) == Filter("bandstop", (350.0, 400))
  assert len({Filter("lowpass", 300), Filter("lowpass", 300.0)}) == 1
  assert str(Filter("bandstop", (350, 400))) == "bandstop 350-400 Hz"


# Edge.


def test_silence_stays_silent():
  parts = {**ingredients(), "sources": np.zeros((2, 8000), np.float32)}
  mixed = simulation(source_filter=Filter("highpass", 180))(KEY, parts)
  np.testing.assert_array_equal(mixed["mixture"], 0)


# Failure.


def test_filters_that_cannot_be(unchecked):
  with pytest.raises(ValueError, match="method 'iir' must be one of"):
    Filter("lowpass", 300, method="iir")
  with pytest.raises(ValueError, match="band 'notch' must be one of"):
    Filter("notch", 300)
  with pytest.raises(ValueError, match="must be ascending"):
    Filter("bandstop", (400, 350))
