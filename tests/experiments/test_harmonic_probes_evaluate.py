"""Evaluations with flags, in this process, and fixed lists."""

import functools
import importlib
import json

import jax
import numpy as np
import pytest
import soundfile
from absl import flags
from absl.testing import flagsaver
from ml_collections import config_dict
from small_corpora import SIZES, mix, noise_of, tiny_config

import jaxsep
from data_pipelines import mixture_lists
from data_pipelines.corpora import open_corpus
from experiments.harmonic_probes import (
  evaluate,
  evaluation_set,
  job,
  scoring,
  whole_mixtures,
)
from jaxsep import metrics, simulate, train


@pytest.fixture
def model(tmp_path):
  """A writer of model folders with random parameters."""

  def make(sample_rate_hz=8000, num_sources=2):
    folder = tmp_path / f"model{sample_rate_hz}"
    net = jaxsep.models.ConvTasNet(num_sources=num_sources, **SIZES)
    params = jax.jit(net.init)(
      jax.random.key(0), np.zeros((1, 800), np.float32)
    )
    jaxsep.save(folder, net, params["params"], sample_rate_hz=sample_rate_hz)
    return folder

  return make


@pytest.fixture
def run_evaluate(tmp_path):
  """Evaluates with flags as a command line sets them; returns the rows."""
  flags.FLAGS.mark_as_parsed()

  def run(**values):
    output = tmp_path / "rows.jsonl"
    values = {"output": str(output), "overwrite": True, **values}
    with flagsaver.flagsaver(batch_size=2, **values):
      evaluate.run()
    return [json.loads(line) for line in output.read_text().splitlines()]

  return run


def parts_of(mixtures, row, root):
  """A mixture of a list and its sources, read by hand."""
  parts = []
  for source in range(2):
    start = int(mixtures.start[row, source])
    samples, _ = soundfile.read(f"{root}/{mixtures.path[row, source]}")
    gain = 10 ** (round(mixtures.gain_db[row, source], 3) / 20)
    parts.append(gain * samples[start : start + int(mixtures.length[row])])
  return sum(parts), parts


def check_row(row, folder, mixture, reference):
  """A row says what the metrics say of the model's output."""
  loaded = jaxsep.load(folder)
  mixture, reference = np.float32(mixture), np.float32(reference)
  estimate = jax.jit(loaded.model.apply)(
    {"params": loaded.params}, mixture[None]
  )[0]
  before = np.stack([mixture] * len(reference))
  orders = [estimate, estimate[::-1]]
  means = [metrics.si_snr(order, reference).mean() for order in orders]
  best = orders[int(np.argmax(means))]
  si_sdr = metrics.si_sdr(best, reference)
  wanted = {
    "si_sdr": si_sdr.mean(),
    "si_sdr_1": si_sdr[0],
    "si_sdr_2": si_sdr[1],
    "mixture_si_sdr": metrics.si_sdr(before, reference).mean(),
    "sdr": jax.jit(metrics.bss_eval)(best, reference)[0].mean(),
  }
  wanted["si_sdr_improvement"] = wanted["si_sdr"] - wanted["mixture_si_sdr"]
  for name, value in wanted.items():
    assert row[name] == pytest.approx(float(value), abs=5e-3), name


# Evaluation.


def test_rows_of_a_list_are_the_metrics_of_its_files(
  tmp_path, librispeech, model, run_evaluate
):
  mixtures = mixture_lists.make_pair_list(
    open_corpus(librispeech), num_sources=2, num_examples=3, seed=0
  )
  mixture_lists.write_list(mixtures, tmp_path / "list.csv")
  root = librispeech.partition(":")[2]
  folder = model()
  rows = run_evaluate(
    model=str(folder), mixture_list=str(tmp_path / "list.csv"), root=root
  )
  assert [row["id"] for row in rows] == mixtures.id.tolist()
  assert rows[0]["folders"] == " ".join(
    sorted(path.split("/")[0] for path in mixtures.path[0])
  )
  seconds = np.round(mixtures.length / 8000, 4)
  np.testing.assert_array_equal([row["seconds"] for row in rows], seconds)
  caption = (tmp_path / "rows.md").read_text().splitlines()[-1]
  assert caption == "Whole mixtures."
  check_row(rows[1], folder, *parts_of(mixtures, 1, root))


def test_mixtures_have_the_rate_of_the_model_and_the_test_split(
  tmp_path, premixed, model, run_evaluate
):
  # Those at 8 kHz would pass for 16 kHz ones unnoticed.
  premixed(["tt"], rate_hz=8000, count=3)
  corpus = premixed(["cv", "tt"], rate_hz=16000, num_samples=17000)
  folder = model(sample_rate_hz=16000)
  rows = run_evaluate(model=str(folder), corpus=corpus, length_multiple_s=1.0)
  assert [row["id"] for row in rows] == ["m0.wav", "m1.wav"]
  assert {row["seconds"] for row in rows} == {1.0}
  caption = (tmp_path / "rows.md").read_text().splitlines()[-1]
  assert "multiples of 1 s, which leaves out 5.88% of" in caption
  parts = [noise_of(100 + s, 17000)[:16000] for s in (0, 1)]
  check_row(rows[0], folder, sum(parts), parts)
  with flagsaver.flagsaver(corpus=corpus, split="cv"):
    batches, _ = evaluation_set.open_batches(
      config_dict.create(sample_rate_hz=16000, num_sources=2)
    )
  np.testing.assert_allclose(
    next(iter(batches))["reference"][0, 0], noise_of(0, 17000), atol=1e-4
  )


def test_some_of_a_list_cut_to_one_length(
  tmp_path, librispeech, model, run_evaluate
):
  mixtures = mixture_lists.make_pair_list(open_corpus(librispeech), seed=0)
  mixture_lists.write_list(mixtures, tmp_path / "list.csv")
  root = librispeech.partition(":")[2]
  folder = model()
  rows = run_evaluate(
    model=str(folder),
    mixture_list=str(tmp_path / "list.csv"),
    root=root,
    num_examples=3,
    crop_s=1.2,
  )
  long = np.flatnonzero(mixtures.length >= 9600)
  wanted = long[[0, len(long) // 3, 2 * len(long) // 3]]
  assert [row["index"] for row in rows] == wanted.tolist()
  assert [row["id"] for row in rows] == mixtures.id[wanted].tolist()
  assert {row["seconds"] for row in rows} == {1.2}
  caption = (tmp_path / "rows.md").read_text().splitlines()[-1]
  short = len(mixtures) - len(long)
  assert f"{short} of {len(mixtures)} are shorter and left out" in caption
  mixture, parts = parts_of(mixtures, wanted[2], root)
  check_row(rows[2], folder, mixture[:9600], [part[:9600] for part in parts])


def test_scores_of_padded_signals_are_those_of_the_signals():
  reference = np.float32(noise_of(1, 2 * 2 * 3001).reshape(2, 2, 3001) + 0.02)
  estimate = reference + np.float32(noise_of(2, reference.size)).reshape(
    reference.shape
  )
  mixture = reference.sum(axis=1)
  found = scoring.score(mixture=mixture, estimate=estimate, reference=reference)
  before = np.stack([mixture, mixture], axis=1)
  for name, metric in (
    ("si_sdr", metrics.si_sdr),
    ("si_snr", metrics.si_snr),
    ("sdr", lambda *pair: metrics.bss_eval(*pair)[0]),
  ):
    own, other = metric(estimate, reference), metric(before, reference)
    np.testing.assert_allclose(found[name], own, atol=2e-3)
    np.testing.assert_allclose(found[f"mixture_{name}"], other, atol=2e-3)
    np.testing.assert_allclose(
      found[f"{name}_improvement"], own - other, atol=4e-3
    )


def test_spread_over_talkers():
  rows = [
    {"folders": f, "si_sdr_improvement": v}
    for f, v in (("a b", 1.0), ("a b", 3.0), ("a c", 6.0), ("a c", 6.0))
  ]
  sentence = scoring.spread_over_folders(rows)
  assert "2 sets of talkers" in sentence and "2.00 to 6.00 dB" in sentence
  assert "error over them 2.00 dB" in sentence
  # Nothing is said where every mixture has talkers of its own, or unknown ones.
  assert scoring.spread_over_folders(rows[1:3]) == ""
  assert scoring.spread_over_folders([{"si_sdr_improvement": 1.0}] * 3) == ""


def test_mixtures_are_cut_as_little_as_their_lengths_allow():
  for spread, multiple in ((100, 1), (200, 80), (20_000, 400), (10**7, 8000)):
    samples = 16000 + np.arange(0, spread, max(spread // 5000, 1))
    assert whole_mixtures.finest_multiple(samples, 8000) == multiple


def test_voices_are_those_to_test_on(model, run_evaluate):
  folder = model()
  rows = run_evaluate(
    model=str(folder), corpus="voices", num_examples=3, crop_s=1.0
  )
  assert [row["index"] for row in rows] == [0, 1, 2]
  options = {"sample_rate_hz": 8000, "num_sources": 2}
  voices = job.open_corpus("voices", **options)
  assert voices.speakers[0].startswith("voice-test-")
  config = tiny_config(valid_crop_s=1.0, num_valid_examples=3, batch_size=2)
  batch = next(iter(job.Data(config, voices, voices).eval_batches()))
  mixed = mix(simulate.make_simulator(), batch, train.evaluation.eval_key())
  check_row(rows[1], folder, mixed["mixture"][1], mixed["reference"][1])


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"split": "test"}, "split is test, but librispeech:.* has no splits"),
    ({"mode": "max"}, "mode is max, but librispeech:.* holds no mixtures"),
    ({"corpus": "wsj0_mix:{}", "mixture": "mix_both"}, "one kind of mixtures"),
    ({"corpus": "wsj0_mix:{}", "mode": "max"}, "max/tt: no such folder"),
    ({"corpus": "voices", "split": "tt"}, "split is 'tt'"),
    ({"corpus": None, "split": "tt"}, "it is for a --corpus, and none"),
    ({"corpus": None, "cache_dir": "x"}, "--cache_dir is for a --corpus"),
    ({"mixture_list": "list.csv"}, "not both"),
    ({"corpus": None}, "name what to evaluate on"),
    ({"root": "x"}, "--root is x, but it is for a --mixture_list"),
    ({"length_multiple_s": 1.0}, "is for a --mixture_list or a --corpus of"),
    (
      {"corpus": "wsj0_mix:{}", "length_multiple_s": 1.0, "crop_s": 1.0},
      "--length_multiple_s or --crop_s, not both",
    ),
    ({"corpus": "wsj0_mix:{}", "crop_s": 9.0}, "no mixture is 9 s long"),
    ({"crop_s": 0.0}, "--crop_s is 0, expected more"),
    ({"corpus": None, "workdir": "x", "crop_s": 1.0}, "evaluated as it is"),
    ({"corpus": None, "workdir": "x", "num_examples": 1}, "as it is"),
    ({"workdir": "x", "output": None}, "name a file for them by --output"),
    ({"output": "x.txt"}, "it ends in .csv or .jsonl"),
  ],
)
def test_flags_that_do_not_fit(
  tmp_path, librispeech, premixed, model, run_evaluate, values, message
):
  premixed(["tt"])
  values = {"corpus": librispeech, **values}
  if values["corpus"]:
    values["corpus"] = values["corpus"].format(tmp_path)
  with pytest.raises(ValueError, match=message) as caught:
    run_evaluate(model=str(model()), **values)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["rows.csv", "rows.md"])
def test_rows_elsewhere_are_not_replaced_unasked(
  tmp_path, librispeech, model, run_evaluate, name
):
  (tmp_path / name).write_text("precious")
  values = dict(
    model=str(model()), corpus=librispeech, output=str(tmp_path / "rows.csv")
  )
  with pytest.raises(ValueError, match=f"{name} is there already; choose"):
    run_evaluate(**values, overwrite=False)
  assert (tmp_path / name).read_text() == "precious"


@pytest.mark.parametrize(
  ("values", "name"),
  [
    ({}, "valid"),
    ({"mixture_list": "a/list.csv"}, "list"),
    ({"mixture_list": "list.csv", "num_examples": 300}, "list_num_300"),
    ({"corpus": "voices", "num_examples": 300, "crop_s": 4.0}, "voices"),
    ({"corpus": "voices", "num_examples": 20}, "voices_num_20"),
    ({"corpus": "wsj0_mix:/x", "split": "cv"}, "wsj0_mix_x_cv"),
    ({"corpus": "wsj0_mix:x", "crop_s": 2.5}, "wsj0_mix_x_crop_2.5"),
    (
      {"corpus": "wsj0_mix:x", "length_multiple_s": 1.0},
      "wsj0_mix_x_multiple_1.0",
    ),
  ],
)
def test_every_set_has_a_name_of_its_own(values, name):
  flags.FLAGS.mark_as_parsed()
  with flagsaver.flagsaver(**values):
    assert evaluation_set.set_name() == name


# Lists.


@pytest.fixture(scope="module")
def make_mixture_list():
  """The command; its flags have names that other commands use as well."""
  values = flags.FlagValues()
  with pytest.MonkeyPatch.context() as patch:
    for name in ("string", "integer", "list", "enum", "bool"):
      define = getattr(flags, f"DEFINE_{name}")
      patch.setattr(
        flags,
        f"DEFINE_{name}",
        functools.partial(define, flag_values=values),
      )
    module = importlib.import_module(
      "experiments.harmonic_probes.make_mixture_list"
    )

  def run(**options):
    words = [f"--{name}={value}" for name, value in options.items()]
    values(["make_mixture_list", *words])
    module.main(["make_mixture_list"])

  return run


def test_list_is_made_once(tmp_path, librispeech, make_mixture_list, capsys):
  output = tmp_path / "list.csv"
  options = {"corpus": librispeech, "output": output, "num_examples": 3}
  make_mixture_list(**options, snr_range_db="1,1")
  first = output.read_text()
  assert "3 mixtures of 2 speakers" in capsys.readouterr().out
  with pytest.raises(SystemExit):
    make_mixture_list(**options, snr_range_db="2,2")
  assert f"{output} is there already" in capsys.readouterr().err
  assert output.read_text() == first
  make_mixture_list(**options, snr_range_db="2,2", overwrite=True)
  assert output.read_text() != first


@pytest.mark.parametrize(
  ("options", "message"),
  [
    *(
      ({"snr_range_db": words}, f"is {words}; it takes two numbers")
      for words in ("0", "0,1,2", "2,1", "a,b", "0,inf", "nan,1")
    ),
    ({"output": "nowhere/list.csv"}, "but there is no nowhere"),
    ({"output": "."}, "it is a CSV file to write"),
    ({"num_examples": 0}, "num_examples is 0"),
  ],
)
def test_lists_that_are_not_made(
  tmp_path, librispeech, make_mixture_list, capsys, options, message
):
  usual = {"snr_range_db": "0,2.5", "num_examples": 2, "overwrite": False}
  usual |= {"corpus": librispeech, "output": tmp_path / "list.csv"}
  with pytest.raises(SystemExit) as stopped:
    make_mixture_list(**(usual | options))
  (line,) = capsys.readouterr().err.strip().splitlines()
  assert stopped.value.code == 1 and message in line
  assert not (tmp_path / "list.csv").exists()
