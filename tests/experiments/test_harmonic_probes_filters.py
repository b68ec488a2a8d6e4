"""Training on filtered mixtures, and the filters of the paper."""

import json
import sys
import unittest.mock

import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from ml_collections import config_dict, config_flags

import jaxsep
from experiments.harmonic_probes import evaluate, filter_sets, job
from experiments.harmonic_probes.configs import (
  conv_tasnet,
  conv_tasnet_small_corpus,
  spectrogram_tasnet,
  spectrogram_tasnet_small_corpus,
)
from jaxsep import losses, tasks
from jaxsep.simulate import Filter

CHOSEN = Filter("bandstop", (350, 400))


def parse(*words):
  """The small-corpus config with flags as a command line sets them."""
  config = conv_tasnet_small_corpus.get_config()
  prefix = "--config.simulate.source_filter."
  line = ["program", *(prefix + word for word in words)]
  values = flags.FlagValues()
  # Which keys are flags is read from there.
  with unittest.mock.patch.object(sys, "argv", line):
    config_flags.DEFINE_config_dict("config", config, flag_values=values)
    values(line)
  return config


# Configs.


@pytest.mark.parametrize(
  ("words", "expected"),
  [
    ([], None),
    (["band=lowpass", "cutoff_hz=300"], Filter("lowpass", 300)),
    (["band=bandstop", "cutoff_hz=(350,400)"], CHOSEN),
    (
      ["band=highpass", "cutoff_hz=180.5", "method=fir"],
      Filter("highpass", 180.5, method="fir"),
    ),
  ],
)
def test_flags_make_the_filter(words, expected):
  task = job.make_task(parse(*words))
  assert task.premixed_filter == expected
  described = task.describe()["simulate"]
  # Runs from before there were filters still go on.
  assert ("source_filter" in described) == (expected is not None)
  read_back = json.loads(json.dumps(described))
  config = conv_tasnet.get_config()
  config.simulate = read_back
  assert job.make_task(config).premixed_filter == expected
  assert job.make_task(config).describe()["simulate"] == described


@pytest.mark.parametrize(
  ("words", "message"),
  [
    (["band=lowpass"], "needs both a band and a cutoff_hz, not lowpass"),
    (["cutoff_hz=300"], "needs both a band and a cutoff_hz, not None"),
    (["band=lowpass", "cutoff_hz=4000"], "half the sample rate, 4000"),
    (["band=lowpass", "cutoff_hz=low"], "cutoff_hz 'low' must be a number"),
    (["band=notch", "cutoff_hz=300"], "band 'notch' must be one of"),
  ],
)
def test_flags_that_make_none(unchecked, words, message):
  with pytest.raises(ValueError, match=message):
    job.make_task(parse(*words))


def test_simulated_mixtures_are_filtered():
  config = parse("band=bandstop", "cutoff_hz=(350,400)")
  config.simulate.update(snr_db=(0.0, 0.0))
  rng = np.random.default_rng(0)
  given = {
    "sources": 0.1 * rng.standard_normal((2, 8000)).astype(np.float32),
    "length": np.full(2, 8000),
  }
  mixed = jax.jit(job.make_task(config).simulate)(jax.random.key(0), given)
  power = (
    np.abs(np.fft.rfft(np.asarray(mixed["reference"]) * np.hanning(8000))) ** 2
  )
  # One bin for each hertz.
  assert power[:, 372:379].mean() < 1e-6 * power[:, 500:].mean()
  np.testing.assert_allclose(
    mixed["mixture"], mixed["reference"].sum(0), atol=1e-6
  )


@pytest.mark.parametrize(
  "module", [spectrogram_tasnet, spectrogram_tasnet_small_corpus]
)
def test_spectrogram_configs(module):
  config = module.get_config()
  task = job.make_task(config)
  assert isinstance(task, tasks.SpectrogramSeparationTask)
  assert task.loss_function is losses.magnitude_l2
  json.dumps(task.describe())
  job.make_train_config(config)
  config.loss = "neg_si_snr"
  assert type(job.make_task(config)) is tasks.SeparationTask
  config.loss = "mse"
  with pytest.raises(ValueError, match="loss is 'mse'; it is one of"):
    job.make_task(config)
  # Without a loss, as for a model by its folder alone.
  bare = config_dict.ConfigDict({"sample_rate_hz": 8000, "simulate": {}})
  assert job.make_task(bare, task.model).loss_function is losses.magnitude_l2


def test_paper_config_is_the_model_of_the_paper():
  model = job.make_model(spectrogram_tasnet.get_config())
  assert model == jaxsep.models.SpectrogramTasNet()


def test_waveform_models_have_no_spectral_loss():
  config = conv_tasnet.get_config()
  with config.unlocked():
    config.loss = "magnitude_l2"
  with pytest.raises(ValueError, match="ConvTasNet estimates no spectra"):
    job.make_task(config)


# A run.


@pytest.mark.slow
def test_run_on_filtered_voices_is_evaluated_on_filtered_ones(tmp_path):
  config = spectrogram_tasnet.get_config()
  config.model.update(
    bottleneck_channels=8,
    hidden_channels=16,
    skip_channels=8,
    num_blocks=2,
    num_repeats=1,
  )
  config.data.update(
    num_voices=4,
    num_valid_voices=3,
    num_valid_examples=8,
    batch_size=8,
    crop_s=0.5,
    valid_crop_s=0.5,
    num_threads=1,
  )
  config.train.update(num_steps=2, eval_every=2, log_every=1, tensorboard=False)
  config.simulate.source_filter.update(band="highpass", cutoff_hz=700)
  workdir = tmp_path / "run"
  result = job.fit(config, workdir=workdir, say=lambda line: None)
  flags.FLAGS.mark_as_parsed()
  rows = {}
  for name, where in (
    ("same", {"workdir": str(workdir)}),
    (
      "native",
      {
        "model": str(workdir / "best"),
        "corpus": "voices",
        "num_examples": 8,
        "crop_s": 0.5,
      },
    ),
  ):
    output = tmp_path / f"{name}.jsonl"
    with flagsaver.flagsaver(output=str(output), batch_size=8, **where):
      evaluate.run()
    lines = output.read_text().splitlines()
    rows[name] = [json.loads(line) for line in lines]
  mean = np.mean([row["si_sdr"] for row in rows["same"]])
  # What training measured on its filtered validation set.
  measured = jaxsep.load(workdir / "best").metadata["metrics"]
  np.testing.assert_allclose(mean, measured["si_sdr"], atol=2e-2)
  assert np.isfinite(result.best_value) and len(rows["native"]) == 8
  native = np.mean([row["si_sdr"] for row in rows["native"]])
  assert abs(native - mean) > 0.05


# The paper's filters.


def test_sets_are_those_of_the_paper():
  cutoffs = [
    [entry.filter.cutoff_hz for entry in entries]
    for entries in (filter_sets.LOWPASS, filter_sets.HIGHPASS)
  ]
  assert cutoffs == [[300, 700, 1200], [180, 300, 400, 700]]
  stops = {e.filter.cutoff_hz: e for e in filter_sets.BANDSTOP}
  assert len(stops) == 8 and sum(e.in_paper for e in stops.values()) == 3
  assert stops[350, 400].paper_sdr_db == 6.8
  assert stops[650, 700].paper_sdr_db == 9.6
  assert len({entry.name for entry in filter_sets.ALL}) == 15
  for entry in filter_sets.with_method(filter_sets.ALL, "fir"):
    silent = np.zeros(10, np.float32)
    assert entry.filter.method == "fir"
    assert entry.filter(silent, sample_rate_hz=8000).shape == (10,)
