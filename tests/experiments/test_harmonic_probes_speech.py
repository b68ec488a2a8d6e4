"""Probes of speech: filters, fricatives, pitch; and what they are given."""

import importlib
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import mir_eval
import numpy as np
import pytest
import soundfile

import jaxsep
from experiments.harmonic_probes import (
  f0_order,
  filter_sets,
  filtered_speech,
  fricatives,
  pitch,
  probe_set,
  separator,
)
from jaxsep import models

RATE_HZ = 8000
FILTERS = (filter_sets.LOWPASS[1], filter_sets.BANDSTOP[0])
TINY = dict(
  num_filters=8,
  bottleneck_channels=4,
  hidden_channels=8,
  skip_channels=4,
  num_blocks=1,
  num_repeats=1,
)


class Gains(nn.Module):
  """Two channels, each the mixture at a gain and its own delay."""

  num_sources: int = 2

  @nn.compact
  def __call__(self, mixture):
    gain = self.param("gain", nn.initializers.ones, (2,))
    late = jnp.roll(mixture, 3, axis=-1)
    return jnp.stack([mixture, late], axis=1) * gain[None, :, None]


def noises(seed, *shape):
  return 0.1 * np.random.default_rng(seed).standard_normal(shape).astype("f4")


@pytest.fixture(scope="module")
def mixtures():
  return probe_set.ProbeSet(["a", "b", "c"], noises(0, 3, 2, 4000), RATE_HZ)


def gains(*values, batch_size=2):
  params = {"gain": jnp.array(values, jnp.float32)}
  return separator.Separator(
    Gains(), params, sample_rate_hz=RATE_HZ, batch_size=batch_size
  )


# Filtered speech.


@pytest.fixture(scope="module")
def filtered(mixtures):
  return filtered_speech.probe_filters(
    gains(1.0, 0.5),
    mixtures,
    filters=FILTERS,
    filtered_models={"lp700": gains(0.0, 1.0)},
  )


def sources_of(mixtures, row):
  entry = {entry.name: entry for entry in FILTERS}.get(row["filter"])
  index = mixtures.name.index(row["mixture"])
  sources = mixtures.sources[index]
  if entry is None:
    return sources
  return np.asarray(entry.filter(sources, sample_rate_hz=RATE_HZ))


@pytest.mark.filterwarnings("ignore:mir_eval")
def test_scores_are_those_of_mir_eval(filtered, mixtures):
  for row in filtered[::4]:
    reference = sources_of(mixtures, row).astype(float)
    mixture = reference.sum(0)
    estimate = np.stack([mixture, np.roll(mixture, 3)])
    sdr, *_ = mir_eval.separation.bss_eval_sources(reference, estimate)
    assert row["sdr_db"] == pytest.approx(sdr.mean(), abs=0.05)
    before, *_ = mir_eval.separation.bss_eval_sources(
      reference, np.stack([mixture] * 2), compute_permutation=False
    )
    assert row["sdr_improvement_db"] == pytest.approx(
      (sdr - before).mean(), abs=0.05
    )


def test_baselines_are_those_of_their_models(filtered, mixtures):
  for row in filtered:
    reference = sources_of(mixtures, row)
    if row["filter"] == filtered_speech.NATIVE:
      assert row["filtered_after_sdr_db"] is None
      continue
    entry = {entry.name: entry for entry in FILTERS}[row["filter"]]
    index = mixtures.name.index(row["mixture"])
    whole = mixtures.mixture[index]
    native = np.stack([whole, 0.5 * np.roll(whole, 3)])
    after = np.asarray(entry.filter(native, sample_rate_hz=RATE_HZ))
    wanted = filtered_speech.score(after[None], reference[None])
    assert row["filtered_after_si_sdr_db"] == pytest.approx(
      wanted["si_sdr_db"][0], abs=1e-2
    )
    if filtered_speech.short_name(entry) == "lp700":
      late = np.roll(reference.sum(0), 3)
      trained = np.stack([0 * late, late])
      wanted = filtered_speech.score(trained[None], reference[None])
      assert row["trained_on_filtered_si_sdr_db"] == pytest.approx(
        wanted["si_sdr_db"][0], abs=1e-2
      )
    else:
      assert row["trained_on_filtered_sdr_db"] is None


def test_rows_are_of_every_filter_and_mixture(filtered, mixtures):
  assert [(row["filter"], row["mixture"]) for row in filtered] == [
    (name, mixture)
    for name in ("none", "lowpass 700 Hz", "bandstop 200-800 Hz")
    for mixture in mixtures.name
  ]
  native, low, stop = filtered_speech.summarize_filters(filtered)
  assert (native["mixtures"], native["paper_sdr_db"]) == (3, 15.8)
  assert (low["low_hz"], low["high_hz"]) == (700, 700)
  assert (stop["low_hz"], stop["high_hz"]) == (200, 800)
  values = [row["sdr_db"] for row in filtered[3:6]]
  assert low["sdr_db"] == pytest.approx(np.mean(values))
  assert low["sdr_error_db"] == pytest.approx(np.std(values, ddof=1) / 3**0.5)
  assert stop["trained_on_filtered_sdr_db"] is None


def test_scores_do_not_depend_on_the_batch():
  reference = noises(1, 13, 2, 1000)
  estimate = reference + noises(2, 13, 2, 1000)
  whole = filtered_speech.score(estimate, reference)
  for i in (0, 12):
    alone = filtered_speech.score(
      estimate[i : i + 1], reference[i : i + 1, ::-1].copy()
    )
    for name, value in whole.items():
      assert value.shape == (13,)
      assert value[i] == pytest.approx(alone[name][0], abs=1e-3)


def test_model_for_no_filter_is_refused(mixtures):
  with pytest.raises(ValueError, match=r"filter 'lp301'.* lp700, bs200-800"):
    filtered_speech.probe_filters(
      gains(1.0, 1.0),
      mixtures,
      filters=FILTERS,
      filtered_models={"lp301": gains(1.0, 1.0)},
    )


# The separator.


def test_separator_compiles_once_for_all_batches_and_parameters():
  traces = []

  class Counted(Gains):
    def __call__(self, mixture):
      traces.append(mixture.shape)
      return jnp.stack([mixture, 2 * mixture], axis=1)

  for params in ({"gain": jnp.ones(2)}, {"gain": jnp.zeros(2)}):
    separate = separator.Separator(
      Counted(), params, sample_rate_hz=RATE_HZ, batch_size=4
    )
    for count in (1, 4, 7):
      mixture = noises(count, count, 50)
      estimate = separate(mixture)
      np.testing.assert_array_equal(
        estimate, np.stack([mixture, 2 * mixture], axis=1)
      )
  assert traces == [(4, 50)]


def test_folder_of_a_run_means_its_best_model(tmp_path):
  model = models.ConvTasNet(**TINY, causal=True)
  params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 160)))["params"]
  (tmp_path / "config.json").write_text(json.dumps({"format": "jaxsep run"}))
  with pytest.raises(ValueError, match="neither best nor last"):
    separator.load_separator(tmp_path)
  for name in ("last", "best"):
    jaxsep.save(tmp_path / name, model, params, sample_rate_hz=RATE_HZ)
    assert separator.find_model(tmp_path) == tmp_path / name
  loaded = separator.load_separator(tmp_path, batch_size=2)
  assert (loaded.name, loaded.sample_rate_hz) == ("causal ConvTasNet", RATE_HZ)
  mixture = noises(0, 3, 400)
  np.testing.assert_allclose(
    loaded(mixture), model.apply({"params": params}, mixture), atol=1e-6
  )


# The mixtures.


def test_voices_fill_the_crop():
  made = probe_set.open_probe_set(
    sample_rate_hz=RATE_HZ, num_examples=3, crop_s=1.5, corpus="voices"
  )
  assert made.sources.shape == (3, 2, 12000) and len(made) == 3
  np.testing.assert_array_equal(made.mixture, made.sources.sum(1))
  blocks = np.abs(made.sources).reshape(3, 2, 3, 4000).max(-1)
  assert (blocks > 0.001).all()
  again = probe_set.open_probe_set(
    sample_rate_hz=RATE_HZ, num_examples=2, crop_s=1.5, corpus="voices"
  )
  assert np.abs(again.sources).max() > 0.01


def write_mixtures(folder, lengths, rate_hz=16000):
  for i, length in enumerate(lengths):
    parts = noises(i, 2, length)
    for name, part in zip(
      ("s1", "s2", "mix"), (*parts, parts.sum(0)), strict=True
    ):
      place = folder / f"2speakers/wav16k/min/tt/{name}"
      place.mkdir(parents=True, exist_ok=True)
      soundfile.write(place / f"m{i}.wav", part, rate_hz, subtype="FLOAT")
  return f"wsj0_mix:{folder}"


def test_mixtures_are_taken_from_all_parts_of_a_corpus(tmp_path):
  corpus = write_mixtures(tmp_path, [8000] * 5 + [700] + [8000] * 4)
  options = dict(sample_rate_hz=16000, corpus=corpus, crop_s=0.25)
  made = probe_set.open_probe_set(num_examples=3, **options)
  assert made.sources.shape == (3, 2, 4000)
  assert made.name == ["m0.wav", "m3.wav", "m7.wav"]
  assert made.num_too_short == 1
  np.testing.assert_allclose(made.sources[1], noises(3, 2, 8000)[:, :4000])
  assert len(probe_set.open_probe_set(num_examples=100, **options)) == 9
  with pytest.raises(ValueError, match=r"no mixture is 2 s long.*crop_s"):
    probe_set.open_probe_set(
      sample_rate_hz=16000, corpus=corpus, crop_s=2.0, num_examples=3
    )


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({}, "name the mixtures by --mixture_list or --corpus"),
    ({"corpus": "voices", "mixture_list": "x.csv"}, "not both"),
    ({"mixture_list": "x.csv"}, "needs --root"),
    ({"corpus": "voices", "root": "x"}, "--root is x, but it is for a"),
    ({"mixture_list": "x", "root": "x", "split": "tt"}, "--split is tt, but"),
    ({"corpus": "voices", "num_examples": 0}, "must be positive"),
  ],
)
def test_options_that_name_no_mixtures(options, message):
  with pytest.raises(ValueError, match=message):
    probe_set.open_probe_set(sample_rate_hz=RATE_HZ, **options)


# Fricatives.


@pytest.fixture(scope="module")
def hissing():
  """Two talkers: hums, and hisses at 0.2 s of the first, 0.6 s of the other."""
  step = np.arange(8000) / RATE_HZ
  hiss = np.asarray(
    filter_sets.Filter("highpass", 3000)(
      noises(0, 8000), sample_rate_hz=RATE_HZ
    )
  )
  sources = np.stack(
    [0.1 * np.sin(2 * np.pi * f * step) for f in (150, 230)]
  ).astype("f4")
  hums = sources.copy()
  for talker, start in ((0, 1600), (1, 4800)):
    sources[talker, start : start + 800] = hiss[start : start + 800]
    hums[talker, start : start + 800] = 0
  return sources, hums


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_misplaced_hiss_is_found(hissing, order):
  sources, hums = hissing
  hisses = sources - hums
  # The second talker's hiss goes to the first.
  estimate = np.stack([hums[0] + hisses.sum(0), hums[1]])[list(order)]
  found = fricatives.find_frames(estimate, sources, sample_rate_hz=RATE_HZ)
  np.testing.assert_array_equal(found["permutation"], order)
  ((talker, start, end),) = fricatives.boxes(found["wrong"])
  assert talker == 1
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
  hisses = sources - hums
  estimate = np.stack([hums[0] + hisses.sum(0), hums[1]])
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


# Pitch.


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


def test_quiet_leak_of_the_other_talker_is_not_tracked():
  signal = np.concatenate([hum(120), hum(300, level=0.001)])
  with_leak = pitch.average_f0(
    signal[None], sample_rate_hz=RATE_HZ, num_processes=0
  )
  assert with_leak[0, 0] == pytest.approx(120, rel=0.03)
  alike = np.concatenate([hum(120), hum(300)])
  both = pitch.average_f0(alike[None], sample_rate_hz=RATE_HZ, num_processes=0)
  assert both[0, 0] > 180


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
  with pytest.raises(ValueError, match="'yin'; it is one of pyin, harvest"):
    pitch.check_tracker("yin")

  def missing(name):
    raise ImportError(name=name)

  monkeypatch.setattr(importlib, "import_module", missing)
  with pytest.raises(ValueError, match="pyin needs librosa: pip install"):
    pitch.check_tracker("pyin")


def test_order_is_of_two_channels():
  with pytest.raises(ValueError, match=r"\(1, 3, 8\) must be"):
    f0_order.probe_f0_order(np.zeros((1, 3, 8)), ["a"], sample_rate_hz=RATE_HZ)
