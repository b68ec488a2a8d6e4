"""The probe of filtered speech; its separator and its mixtures."""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import mir_eval
import numpy as np
import pytest
import soundfile
from small_corpora import SIZES

import jaxsep
from experiments.harmonic_probes import (
  filter_sets,
  filtered_speech,
  probe_set,
  separator,
)
from jaxsep import models

RATE_HZ = 8000
FILTERS = (filter_sets.LOWPASS[1], filter_sets.BANDSTOP[0])


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
  model = models.ConvTasNet(**SIZES, causal=True)
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
