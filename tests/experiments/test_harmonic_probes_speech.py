"""The probe of filtered speech; its separator and its mixtures."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import mir_eval
import numpy as np
import pytest
from small_corpora import noise_of, tiny, write

import jaxsep
from experiments.harmonic_probes import mixtures as probe_mixtures
from experiments.harmonic_probes import separator
from experiments.harmonic_probes.probes import filters

RATE_HZ = 8000
FILTERS = (filters.LOWPASS[1], filters.BANDSTOP[0])


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
  return probe_mixtures.ProbeSet(
    ["a", "b", "c"], noises(0, 3, 2, 4000), RATE_HZ
  )


def gains(*values, batch_size=2):
  variables = {"params": {"gain": jnp.array(values, jnp.float32)}}
  return separator.Separator(
    Gains(), variables, sample_rate_hz=RATE_HZ, batch_size=batch_size
  )


# Filtered speech.


@pytest.fixture(scope="module")
def filtered(mixtures):
  return filters.probe_filters(
    gains(1.0, 0.5),
    mixtures,
    filters=FILTERS,
    filtered_models={"lp700": gains(0.0, 1.0)},
  )


def case_of(mixtures, row):
  """Filter, sources and mixture that a row is of."""
  entry = {str(entry): entry for entry in FILTERS}.get(row["filter"])
  index = mixtures.name.index(row["mixture"])
  sources = mixtures.sources[index]
  if entry is not None:
    sources = np.asarray(entry(sources, sample_rate_hz=RATE_HZ))
  return entry, sources, mixtures.mixture[index]


@pytest.mark.filterwarnings("ignore:mir_eval")
def test_scores_are_those_of_mir_eval(filtered, mixtures):
  for row in filtered[::8]:
    reference = case_of(mixtures, row)[1].astype(float)
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
    entry, reference, whole = case_of(mixtures, row)
    if entry is None:
      assert row["filtered_after_sdr_db"] is None
      continue
    native = np.stack([whole, 0.5 * np.roll(whole, 3)])
    after = np.asarray(entry(native, sample_rate_hz=RATE_HZ))
    expected = {"filtered_after_si_sdr_db": after}
    if filters.short_name(entry) == "lp700":
      late = np.roll(reference.sum(0), 3)
      expected["trained_on_filtered_si_sdr_db"] = np.stack([0 * late, late])
    else:
      assert row["trained_on_filtered_sdr_db"] is None
    for name, estimate in expected.items():
      wanted = filters.score(estimate[None], reference[None])["si_sdr_db"][0]
      assert row[name] == pytest.approx(wanted, abs=1e-2)


def test_rows_are_of_every_filter_and_mixture(filtered, mixtures):
  assert [(row["filter"], row["mixture"]) for row in filtered] == [
    (name, mixture)
    for name in ("none", "lowpass 700 Hz", "bandstop 200-800 Hz")
    for mixture in mixtures.name
  ]
  native, low, stop = filters.summarize_filters(filtered)
  assert (native["mixtures"], native["paper_sdr_db"]) == (3, 15.8)
  assert (low["low_hz"], low["high_hz"]) == (700, 700)
  assert (stop["low_hz"], stop["high_hz"]) == (200, 800)
  values = [row["sdr_db"] for row in filtered[3:6]]
  assert low["sdr_db"] == pytest.approx(np.mean(values))
  assert low["sdr_error_db"] == pytest.approx(np.std(values, ddof=1) / 3**0.5)
  assert np.isnan(stop["trained_on_filtered_sdr_db"])


def test_losses_are_against_both_baselines_with_their_errors(filtered):
  native, low, stop = filters.summarize_filters(filtered)
  for table, first, kinds in (
    (low, 3, {"trained": "trained_on_filtered", "after": "filtered_after"}),
    (stop, 6, {"after": "filtered_after"}),
  ):
    for name, baseline in kinds.items():
      loss = [
        row[f"{baseline}_sdr_db"] - row["sdr_db"]
        for row in filtered[first : first + 3]
      ]
      # Of the differences, not of two means that vary together.
      error = np.std(loss, ddof=1) / 3**0.5
      assert table[f"loss_{name}_db"] == pytest.approx(np.mean(loss))
      assert table[f"loss_{name}_error_db"] == pytest.approx(error)
  for missing in (
    stop["loss_trained_db"],
    stop["loss_trained_error_db"],
    native["loss_after_db"],
  ):
    assert np.isnan(missing)


def test_filters_are_those_of_the_paper():
  assert [f.cutoff_hz for f in filters.LOWPASS] == [300, 700, 1200]
  assert [f.cutoff_hz for f in filters.HIGHPASS] == [180, 300, 400, 700]
  names = {str(entry) for entry in filters.BANDSTOP}
  assert len(names) == 8 and {"bandstop 200-800 Hz"} < names
  assert filters.PAPER_SDR_DB.keys() - names == {filters.NATIVE}


def test_scores_do_not_depend_on_the_batch():
  reference = noises(1, 13, 2, 1000)
  estimate = reference + noises(2, 13, 2, 1000)
  whole = filters.score(estimate, reference)
  for i in (0, 12):
    alone = filters.score(
      estimate[i : i + 1], reference[i : i + 1, ::-1].copy()
    )
    for name, value in whole.items():
      assert value.shape == (13,)
      assert value[i] == pytest.approx(alone[name][0], abs=1e-3)


# The separator.


def test_separator_compiles_once_for_all_batches_and_parameters():
  traces = []

  class Counted(Gains):
    def __call__(self, mixture):
      traces.append(mixture.shape)
      return jnp.stack([mixture, 2 * mixture], axis=1)

  for gain in (jnp.ones(2), jnp.zeros(2)):
    variables = {"params": {"gain": gain}}
    separate = separator.Separator(
      Counted(), variables, sample_rate_hz=RATE_HZ, batch_size=4
    )
    for count in (1, 4, 7):
      mixture = noises(count, count, 50)
      estimate = separate(mixture)
      np.testing.assert_array_equal(
        estimate, np.stack([mixture, 2 * mixture], axis=1)
      )
  assert traces == [(4, 50)]


def test_separator_is_that_of_its_folder(tmp_path):
  model = tiny("ConvTasNet", causal=True)
  variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 160)))
  jaxsep.save(tmp_path / "m", model, variables, sample_rate_hz=RATE_HZ)
  loaded = separator.load_separator(tmp_path / "m", batch_size=2)
  assert (loaded.name, loaded.sample_rate_hz) == ("causal ConvTasNet", RATE_HZ)
  mixture = noises(0, 3, 400)
  np.testing.assert_allclose(
    loaded(mixture), jax.jit(model.apply)(variables, mixture), atol=1e-6
  )


# The mixtures.


def test_voices_fill_the_crop():
  made = probe_mixtures.open_mixtures(
    sample_rate_hz=RATE_HZ, num_examples=3, crop_s=1.5, corpus="voices"
  )
  assert made.sources.shape == (3, 2, 12000) and len(made) == 3
  np.testing.assert_array_equal(made.mixture, made.sources.sum(1))
  blocks = np.abs(made.sources).reshape(3, 2, 3, 4000).max(-1)
  assert (blocks > 0.001).all()


def test_mixtures_are_taken_from_all_parts_of_a_corpus(tmp_path, premixed):
  corpus = premixed(["tt"], rate_hz=16000, count=10)
  for part in ("mix", "s1", "s2"):
    place = tmp_path / f"2speakers/wav16k/min/tt/{part}/m5.wav"
    write(place, noise_of(0, 700), 16000)
  options = {"sample_rate_hz": 16000, "corpus": corpus}
  made = probe_mixtures.open_mixtures(num_examples=3, crop_s=0.25, **options)
  assert made.sources.shape == (3, 2, 4000)
  assert made.name == ["m0.wav", "m3.wav", "m7.wav"]
  assert made.num_too_short == 1
  expected = [noise_of(30 + source, 8000)[:4000] for source in (0, 1)]
  np.testing.assert_allclose(made.sources[1], expected, atol=1e-4)
  assert len(probe_mixtures.open_mixtures(crop_s=0.25, **options)) == 9
  with pytest.raises(ValueError, match=r"no mixture is 2 s long.*crop_s"):
    probe_mixtures.open_mixtures(crop_s=2.0, **options)
