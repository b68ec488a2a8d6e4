"""Corpora of configs and flags, trained and evaluated on in this process."""

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
from experiments.harmonic_probes.configs import conv_tasnet
from jaxsep import metrics, simulate, train
from jaxsep.train import workdir as workdir_lib

SIZES = dict(
  num_filters=8,
  bottleneck_channels=4,
  hidden_channels=8,
  skip_channels=4,
  num_blocks=1,
  num_repeats=1,
)


def write(path, samples, rate_hz=8000):
  path.parent.mkdir(parents=True, exist_ok=True)
  soundfile.write(path, samples, rate_hz, subtype="PCM_16")


def noise_of(seed, num_samples):
  return 0.1 * np.random.default_rng(seed).standard_normal(num_samples)


@pytest.fixture
def librispeech(tmp_path):
  """4 speakers with 2 utterances each, as LibriSpeech places them."""
  root = tmp_path / "LibriSpeech"
  for speaker in range(4):
    for number in range(2):
      seed = 10 * speaker + number
      name = f"{10 + speaker}-1-{number:04d}.flac"
      place = root / f"test-tiny/{10 + speaker}/1/{name}"
      write(place, noise_of(seed, 9000 + 100 * seed))
  return f"librispeech:{root}/test-tiny"


@pytest.fixture
def premixed(tmp_path):
  """A writer of trees of mixtures as WSJ0-2mix has them."""

  def make(splits, *, rate_hz=8000, mode="min", num_samples=8000, count=2):
    for split_number, split in enumerate(splits):
      folder = tmp_path / f"2speakers/wav{rate_hz // 1000}k/{mode}/{split}"
      for i in range(count):
        parts = [
          noise_of(100 * split_number + 10 * i + s, num_samples) for s in (0, 1)
        ]
        for name, part in zip(
          ("s1", "s2", "mix"), (*parts, sum(parts)), strict=True
        ):
          write(folder / name / f"m{i}.wav", part, rate_hz)
    return f"wsj0_mix:{tmp_path}"

  return make


@pytest.fixture
def folders(tmp_path):
  """Corpora of noises and of rooms."""
  for i in range(2):
    write(tmp_path / f"noises/{i}.wav", noise_of(70 + i, 6000))
    room = noise_of(80 + i, 800) * np.exp(-np.arange(800) / 100)
    room[5] = 0.9
    write(tmp_path / f"rooms/{i}.wav", room)
  return f"folder:{tmp_path}/noises", f"folder:{tmp_path}/rooms"


def tiny_config(**data):
  """Eight devices share a batch in the tests."""
  config = conv_tasnet.get_config()
  config.model.update(SIZES)
  config.data.update(
    num_voices=4,
    num_valid_voices=3,
    num_valid_examples=8,
    batch_size=8,
    crop_s=0.5,
    valid_crop_s=0.5,
    num_threads=1,
  )
  config.data.update(data)
  config.train.update(num_steps=2, eval_every=2, log_every=1, tensorboard=False)
  return config


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


@functools.partial(jax.jit, static_argnums=0)
def mix(simulator, batch, key):
  """Operation by operation it would take far longer."""
  return simulate.simulate_batch(simulator, batch, key=key)


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


# Training.


def test_run_with_noise_and_rooms(tmp_path, librispeech, folders):
  noise, rirs = folders
  config = tiny_config(
    corpus=librispeech, noise=noise, rirs=rirs, rir_s=0.1, min_utterance_s=0.5
  )
  config.simulate.update(
    noise_snr_db=(5.0, 10.0), early_ms=20.0, overlap="partial", peak=0.5
  )
  config.simulate.overlap_ratio = (0.5, 1.0)
  result = job.fit(config, workdir=tmp_path / "run", say=lambda line: None)
  assert result.reason == "finished" and np.isfinite(result.best_value)
  # Targets are the early sound: mixtures hold the late one and noise besides.
  batch = next(job.open_data(config).train_batches(0))
  task = job.make_task(config)
  mixed = mix(task.simulate, batch, jax.random.key(0))
  total = mixed["reference"].sum(1) + mixed["noise"] + mixed["late"]
  np.testing.assert_allclose(mixed["mixture"], total, atol=1e-6)
  for name in ("noise", "late"):
    assert np.abs(mixed[name]).max() > 1e-3
  assert np.abs(mixed["mixture"]).max() <= 0.5 + 1e-6


def test_run_on_files_of_mixtures(tmp_path, premixed):
  premixed(["tr", "cv"])
  config = tiny_config(corpus=premixed(["tr", "cv"], mode="max"), mode="max")
  for split in ("tr", "cv"):
    # Which mode is read shows in this.
    for part in ("mix", "s1", "s2"):
      (tmp_path / f"2speakers/wav8k/min/{split}/{part}/m0.wav").unlink()
  said = []
  result = job.fit(config, workdir=tmp_path / "run", say=said.append)
  assert result.reason == "finished" and np.isfinite(result.best_value)
  assert said == ["training: 2 mixtures", "valid: 2 mixtures"]


@pytest.mark.parametrize("has_noise", [False, True])
def test_librimix_of_either_kind(tmp_path, has_noise):
  kind = "mix_both" if has_noise else "mix_clean"
  for split in ("train-100", "dev"):
    for part in (kind, "s1", "s2", *(["noise"] * has_noise)):
      folder = tmp_path / f"Libri2Mix/wav8k/min/{split}/{part}"
      write(folder / "a.wav", noise_of(len(part), 8000))
  config = tiny_config(corpus=f"librimix:{tmp_path}")
  if has_noise:
    config.data.mixture = kind
  batch = next(job.open_data(config).train_batches(0))
  assert ("noise" in batch) == has_noise


# Options.


def test_options_reach_the_simulator():
  config = conv_tasnet.get_config()
  config.simulate.update(level_db=-40.0, snr_db=(0.0, 0.0), peak=0.011)
  ingredients = {
    "sources": np.float32([noise_of(1, 4000), noise_of(2, 4000)]),
    "length": np.full(2, 4000),
  }
  task = job.make_task(config)
  mixed = jax.jit(task.simulate)(jax.random.key(0), ingredients)
  assert np.abs(mixed["mixture"]).max() == pytest.approx(0.011, rel=1e-4)
  assert task.describe()["simulate"]["peak"] == 0.011
  with config.unlocked():
    config.simulate.peak = None
  mixed = jax.jit(job.make_task(config).simulate)(
    jax.random.key(0), ingredients
  )
  level = 20 * np.log10(np.std(mixed["reference"], -1))
  np.testing.assert_allclose(level, -40.0, atol=0.2)


def test_run_from_before_an_option_goes_on(tmp_path):
  config = tiny_config()
  described = {
    "task": job.make_task(config).describe(),
    "run": job.open_data(config, say=lambda line: None).describe(),
  }
  # As runs were described before there were these.
  earlier = json.loads(json.dumps(described))
  for name in ("overlap_ratio", "level_db", "early_ms", "peak"):
    earlier["task"]["simulate"].pop(name, None)
  for name in ("mode", "mixture"):
    earlier["run"]["data"].pop(name)
  with workdir_lib.open_workdir(tmp_path, earlier):
    pass
  with workdir_lib.open_workdir(tmp_path, described):
    pass
  config.simulate.level_db = -20.0
  described["task"] = job.make_task(config).describe()
  with (
    pytest.raises(train.TrainingError, match=r"level_db is -20\.0"),
    workdir_lib.open_workdir(tmp_path, described),
  ):
    pass


@pytest.mark.parametrize(
  ("data", "settings", "message"),
  [
    ({"noise": "folder:x"}, {}, "without simulate.noise_snr_db"),
    ({}, {"noise_snr_db": (0.0, 5.0)}, "but data.noise names no corpus"),
    ({}, {"early_ms": 50.0}, "but data.rirs names no corpus"),
    ({"mode": "max"}, {}, "data.mode is max, but it is for mixtures"),
    ({"mixture": "mix_both"}, {}, "for mixtures of librimix"),
    ({"corpus": "{}", "mixture": "mix_both"}, {}, "for mixtures of librimix"),
    ({"corpus": "{}", "mode": "mid"}, {}, "mode is 'mid'"),
    ({"corpus": "{}", "rirs": "folder:x"}, {}, "taken as they are"),
    ({"corpus": "{}", "noise": "folder:x"}, {}, "taken as they are"),
  ],
)
def test_options_that_would_not_count(premixed, data, settings, message):
  corpus = premixed(["tr", "cv"])
  config = tiny_config(
    **{name: value.format(corpus) for name, value in data.items()}
  )
  config.simulate.update(settings)
  with pytest.raises(ValueError, match=message):
    job.open_data(config, say=lambda line: None)


def test_layout_without_splits(librispeech):
  config = tiny_config(corpus=librispeech, split="train")
  with pytest.raises(ValueError, match="has no splits; name the folder"):
    job.open_data(config, say=lambda line: None)


def test_training_on_utterances_and_validating_on_mixtures(
  librispeech, premixed
):
  config = tiny_config(
    corpus=librispeech, valid_corpus=premixed(["cv"]), min_utterance_s=0.5
  )
  data = job.open_data(config, say=lambda line: None)
  assert len(data.train.speakers) == 4 and data.valid.num_sources == 2
  assert "mixture" in next(iter(data.eval_batches()))
  config.data.update(valid_corpus="voices")
  data = job.open_data(config, say=lambda line: None)
  assert data.valid.speakers[0].startswith("voice-valid-")
