"""Evaluations with flags, in this process, and fixed lists."""

import json

import jax
import numpy as np
import pytest
import soundfile
from small_corpora import TINY_MODEL, noise_of, tiny_config

import jaxsep
from data_pipelines import mixture_lists
from data_pipelines.corpora import open_corpus
from experiments import data as data_lib
from experiments import rows, separation
from experiments.harmonic_probes import evaluate, make_mixture_list, train
from jaxsep import metrics


@pytest.fixture(scope="module")
def model(tmp_path_factory):
  """A writer of model folders with random variables."""
  folder = tmp_path_factory.mktemp("models")
  variables = jax.jit(TINY_MODEL.init)(
    jax.random.key(0), np.zeros((1, 800), np.float32)
  )

  def make(sample_rate_hz=8000):
    place = folder / f"model{sample_rate_hz}"
    if not place.exists():
      jaxsep.save(place, TINY_MODEL, variables, sample_rate_hz=sample_rate_hz)
    return place

  return make


@pytest.fixture
def run_evaluate(tmp_path):
  """Evaluates with flags as a command line has them; returns the rows."""

  def run(*words, **values):
    output = tmp_path / "rows.jsonl"
    values = {"output": output, "batch_size": 2} | values
    given = [f"--{name}={value}" for name, value in values.items()]
    evaluate.main([*given, *words, "--overwrite", "--debug"])
    return [json.loads(line) for line in output.read_text().splitlines()]

  return run


@pytest.fixture
def mixture_list(tmp_path, librispeech):
  """A list of six mixtures, the flags that name it, and its folder."""
  mixtures = mixture_lists.make_pair_list(open_corpus(librispeech), seed=0)
  mixture_lists.write_list(mixtures, tmp_path / "list.csv")
  root = librispeech.partition(":")[2]
  return mixtures, {"mixture_list": tmp_path / "list.csv", "root": root}


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
  estimate = jax.jit(loaded.model.apply)(loaded.variables, mixture[None])[0]
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


def test_some_of_a_list_with_audio(tmp_path, mixture_list, model, run_evaluate):
  mixtures, where = mixture_list
  # Of an earlier evaluation.
  (tmp_path / "rows_examples/example_99").mkdir(parents=True)
  found = run_evaluate(
    model=model(), num_examples=3, crop_s=1.2, num_saved=2, **where
  )
  long = np.flatnonzero(mixtures.length >= 9600)
  wanted = long[[0, len(long) // 3, 2 * len(long) // 3]]
  assert [row["index"] for row in found] == wanted.tolist()
  assert [row["id"] for row in found] == mixtures.id[wanted].tolist()
  assert {row["seconds"] for row in found} == {1.2}
  folders = sorted(path.split("/")[0] for path in mixtures.path[wanted[0]])
  assert found[0]["folders"] == " ".join(folders)
  caption = (tmp_path / "rows.md").read_text().splitlines()[-1]
  short = len(mixtures) - len(long)
  assert f"{short} of {len(mixtures)} are shorter and left out" in caption
  mixture, parts = parts_of(mixtures, wanted[2], where["root"])
  check_row(found[2], model(), mixture[:9600], [x[:9600] for x in parts])
  saved = tmp_path / "rows_examples"
  folder = saved / f"example_{wanted[0]}"
  assert len(list(saved.iterdir())) == 3 and len(list(folder.iterdir())) == 5
  assert not (saved / "example_99").exists()
  heard, rate_hz = soundfile.read(folder / "mixture.wav")
  mixture, _ = parts_of(mixtures, wanted[0], where["root"])
  np.testing.assert_allclose(heard, mixture[:9600], atol=1e-4)
  assert rate_hz == 8000


def test_mixtures_have_the_rate_of_the_model_and_the_test_split(
  tmp_path, premixed, model, run_evaluate
):
  # Those at 8 kHz would pass for 16 kHz ones unnoticed.
  premixed(["tt"], rate_hz=8000, count=3)
  corpus = premixed(["cv", "tt"], rate_hz=16000, num_samples=17000)
  folder = model(16000)
  found = run_evaluate(model=folder, corpus=corpus)
  assert [row["id"] for row in found] == ["m0.wav", "m1.wav"]
  # Whole, although batches are padded to whole seconds.
  assert {row["seconds"] for row in found} == {17000 / 16000}
  assert (tmp_path / "rows.md").read_text().endswith("Whole mixtures.\n")
  parts = [noise_of(100 + s, 17000) for s in (0, 1)]
  check_row(found[0], folder, sum(parts), parts)
  other = data_lib.open_corpus(corpus, sample_rate_hz=16000, split="cv")
  np.testing.assert_allclose(other.read(0)[1], noise_of(0, 17000), atol=1e-4)


def test_voices_are_those_to_test_on(model, run_evaluate):
  pytest.importorskip("pystoi")
  words = []
  try:
    import pesq  # noqa: F401  # pyright: ignore[reportMissingImports]

    words = ["--perceptual"]
  except ImportError:
    pass
  found = run_evaluate(
    *words, model=model(), corpus="voices", num_examples=3, crop_s=1.0
  )
  assert [row["index"] for row in found] == [0, 1, 2]
  for row in found if words else ():
    assert 0 < row["mixture_stoi"] < 1 < row["mixture_pesq"] < 5
  voices = data_lib.open_corpus("voices", sample_rate_hz=8000)
  assert voices.speakers[0].startswith("voice-test-")


@pytest.mark.parametrize("overlap", ["min", "max", "partial"])
def test_seconds_are_those_of_the_mixture(overlap):
  config = tiny_config(valid_crop_s=0.5, num_valid_examples=4, batch_size=4)
  config.simulation.overlap = overlap
  task = train.make_task(config)
  # Utterances that end within the crop, in each mixture another.
  batch = {
    "index": np.arange(2, dtype=np.uint32),
    "sources": np.float32(noise_of(0, 16000).reshape(2, 2, 4000)),
    "length": np.int32([[1000, 3000], [2500, 2000]]),
  }
  batch["sources"] *= np.arange(4000) < batch["length"][..., None]
  variables = jax.jit(task.init)(jax.random.key(0), batch)
  for row, signals in separation.scored(task, variables, [batch]):
    mixture = signals["mixture"]
    assert row["samples"] == len(mixture) and mixture[-1] != 0
    lengths = batch["length"][row["index"]]
    if overlap == "partial":
      assert lengths.max() <= row["samples"] <= lengths.sum()
    else:
      least, most = lengths.min(), lengths.max()
      assert row["samples"] == (least if overlap == "min" else most)


def test_estimates_are_at_the_level_of_the_mixture():
  task = train.make_task(tiny_config())
  sources = np.float32(noise_of(0, 4000).reshape(1, 2, 2000))
  batch = {"index": np.zeros(1, np.uint32), "sources": sources}
  batch["length"] = np.full((1, 2), 2000, np.int32)
  variables = jax.jit(task.init)(jax.random.key(0), batch)
  louder = jax.tree.map(lambda x: x, variables)
  louder["params"]["decoder"]["kernel"] *= 100
  (_, usual), (_, same) = (
    *separation.scored(task, variables, [batch]),
    *separation.scored(task, louder, [batch]),
  )
  np.testing.assert_allclose(usual["estimate"], same["estimate"], atol=1e-4)


def test_error_of_means_and_spread_over_speakers():
  assert rows.mean_and_error([1.0, 3.0, np.nan]) == (2.0, 1.0)
  table = [
    {"folders": f, "si_sdr_improvement": v}
    for f, v in (("a b", 1.0), ("a b", 3.0), ("a c", 6.0), ("a c", 6.0))
  ]
  sentence = rows.spread(table)
  assert "2 sets of speakers" in sentence and "2.00 to 6.00 dB" in sentence
  assert "error over them 2.00 dB" in sentence
  # Nothing is said where every mixture has speakers of its own, or unknown.
  assert rows.spread(table[1:3]) == ""
  assert rows.spread([{"si_sdr_improvement": 1.0}] * 3) == ""
  text = rows.summary(table, {"si_sdr_improvement": "SI-SDRi", "stoi": "STOI"})
  assert "| SI-SDRi | 4.00 | 1.22 | 4.50 |" in text and "STOI" not in text


def test_published_lists_are_known_by_their_content(tmp_path, librispeech):
  root = librispeech.partition(":")[2]
  paths = ["10/1/10-1-0000.flac", "11/1/11-1-0000.flac"]
  (tmp_path / "libri.csv").write_text(
    "mixture_ID,source_1_path,source_1_gain,source_2_path,source_2_gain\n"
    f"a,{paths[0]},0.5,{paths[1]},0.25\n"
  )
  (tmp_path / "wsj.txt").write_text(f"{paths[0]} 1.5 {paths[1]} -1.5\n")
  for name in ("libri.csv", "wsj.txt"):
    corpus = separation.open_mixture_list(str(tmp_path / name), root, 2)
    assert corpus["path_2"].tolist() == paths[1:]
    assert corpus.length.tolist() == [9000]


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"corpus": "{}", "split": "tt"}, "tt"),
    ({"corpus": "{}", "mode": "max"}, "mode is max, but librispeech:"),
    ({"corpus": "wsj0_mix:{}", "mixture": "mix_both"}, "mixture is mix_both"),
    ({"corpus": "voices", "split": "tt"}, "'tt'"),
    ({"corpus": "voices", "mixture_list": "x"}, "not both"),
    ({"split": "tt"}, "--split is for a --corpus, and none is given"),
    ({"cache_dir": "x"}, "--cache_dir is for a --corpus"),
    ({"mode": "max"}, "--mode is for a --corpus"),
    ({"root": "x"}, "--root is for a --mixture_list"),
    ({"mixture_list": "x"}, "needs --root"),
    ({}, "name what to evaluate on"),
    ({"corpus": "{}", "crop_s": 0.0}, "--crop_s is 0, expected more"),
    ({"corpus": "{}", "crop_s": 9.0}, "is 9 s long; choose a shorter"),
    ({"workdir": "x", "crop_s": 1.0}, "evaluated as it is"),
    ({"corpus": "{}", "output": "rows.txt"}, "it ends in .csv or .jsonl"),
    ({"corpus": "{}", "num_saved": 1}, "--num_saved needs --output"),
  ],
)
def test_flags_that_would_not_be_heeded(
  librispeech, model, refused, values, message
):
  words = [f"--model={model()}"]
  words += [
    f"--{name}={str(value).format(librispeech)}"
    for name, value in values.items()
  ]
  assert message in refused(evaluate.main, words)


def test_rows_elsewhere_are_not_replaced_unasked(tmp_path, model, refused):
  (tmp_path / "rows.md").write_text("precious")
  words = [f"--model={model()}", "--corpus=voices"]
  line = refused(evaluate.main, [*words, f"--output={tmp_path / 'rows.csv'}"])
  assert "rows.md is there already; choose" in line
  assert (tmp_path / "rows.md").read_text() == "precious"
  (tmp_path / "other_examples").mkdir()
  line = refused(evaluate.main, [*words, f"--output={tmp_path / 'other.csv'}"])
  assert "other_examples is there already" in line


@pytest.mark.parametrize(
  ("words", "name"),
  [
    ([], "valid"),
    (["--config.data.crop_s=2"], "valid_data.crop_s_2"),
    (["--mixture_list=a/list.csv", "--num_examples=300"], "list_num_300"),
    (["--corpus=wsj0_mix:/x", "--split=cv"], "wsj0_mix_x_cv"),
    (["--corpus=wsj0_mix:x", "--crop_s=2.5"], "wsj0_mix_x_crop_2.5"),
  ],
)
def test_every_set_has_a_name_of_its_own(words, name):
  parser = evaluate.COMMAND.make_parser()
  flags = parser.parse(["--workdir=run", *words], unknown="--config.")
  path = evaluate.COMMAND.output_path(flags)
  assert path.name == f"evaluation_{name}.csv"


# Lists.


def test_list_is_made_once(tmp_path, librispeech, capsys, refused):
  output = tmp_path / "list.csv"
  words = [f"--corpus={librispeech}", f"--output={output}", "--num_examples=3"]
  make_mixture_list.main([*words, "--snr_range_db=1,1"])
  first = output.read_text()
  assert "3 mixtures of 2 speakers" in capsys.readouterr().out
  line = refused(make_mixture_list.main, [*words, "--snr_range_db=2,2"])
  assert f"{output} is there already" in line
  assert output.read_text() == first
  make_mixture_list.main([*words, "--snr_range_db=2,2", "--overwrite"])
  assert output.read_text() != first


def test_list_of_the_built_in_voices(tmp_path):
  words = ["--corpus=voices", "--num_examples=2"]
  make_mixture_list.main([*words, f"--output={tmp_path / 'list.csv'}"])
  mixtures = mixture_lists.read_list(tmp_path / "list.csv")
  assert len(mixtures) == 2 and "voice-test-" in mixtures.path[0, 0]


@pytest.mark.parametrize(
  ("words", "message"),
  [
    *(
      ([f"--snr_range_db={text}"], f"is {text}; it takes two numbers")
      for text in ("0", "0,1,2", "2,1", "0,inf", "nan,1")
    ),
    (["--snr_range_db=a,b"], "snr_range_db=a,b"),
    (["--output=nowhere/list.csv"], "but there is no nowhere"),
    (["--output=."], "it is a CSV file to write"),
    (["--num_examples=0"], "num_examples is 0"),
  ],
)
def test_lists_that_are_not_made(
  tmp_path, librispeech, refused, words, message
):
  usual = [f"--corpus={librispeech}", f"--output={tmp_path / 'list.csv'}"]
  assert message in refused(make_mixture_list.main, [*usual, *words])
  assert not (tmp_path / "list.csv").exists()
