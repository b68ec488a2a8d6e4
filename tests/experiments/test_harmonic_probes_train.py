"""Training and evaluation as a user starts them."""

import csv
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from ml_collections import config_dict

import jaxsep
from experiments.harmonic_probes import job
from experiments.harmonic_probes.configs import conv_tasnet, conv_tasnet_small

ROOT = pathlib.Path(__file__).parents[2]

# So small that it trains in seconds; what it learns does not matter.
TINY = {
  "config.model.num_filters": 16,
  "config.model.bottleneck_channels": 8,
  "config.model.hidden_channels": 16,
  "config.model.skip_channels": 8,
  "config.model.num_blocks": 2,
  "config.model.num_repeats": 1,
  "config.data.num_voices": 4,
  "config.data.num_valid_voices": 2,
  "config.data.num_valid_examples": 3,
  "config.data.crop_s": 0.5,
  "config.data.valid_crop_s": 0.5,
  "config.data.batch_size": 2,
  "config.train.eval_every": 4,
  "config.train.log_every": 2,
  "config.train.checkpoint_every": 2,
}


def start(module, **flags):
  environment = dict(os.environ)
  environment.pop("XLA_FLAGS", None)
  line = [sys.executable, "-m", f"experiments.harmonic_probes.{module}"]
  line += [f"--{name}={value}" for name, value in flags.items()]
  return subprocess.run(
    line,
    cwd=ROOT,
    env=environment,
    capture_output=True,
    text=True,
    timeout=300,
  )


def train(workdir, **flags):
  flags = {**TINY, **flags}
  path = "experiments/harmonic_probes/configs/conv_tasnet_small.py"
  return start("train", config=path, workdir=workdir, **flags)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """A run of 4 steps, and its output."""
  workdir = tmp_path_factory.mktemp("runs") / "run"
  result = train(workdir, **{"config.train.num_steps": 4})
  assert result.returncode == 0, result.stderr[-3000:]
  return workdir, result


def test_run_leaves_a_model_a_log_and_events(trained):
  workdir, result = trained
  assert "step 4 evaluation" in result.stderr
  loaded = jaxsep.load(workdir / "best")
  assert loaded.sample_rate_hz == 8000
  assert np.isfinite(loaded.metadata["metrics"]["si_sdr_improvement"])
  lines = (workdir / "log.jsonl").read_text().splitlines()
  splits = [(json.loads(x)["step"], json.loads(x)["split"]) for x in lines]
  assert splits == [(2, "train"), (4, "train"), (4, "eval")]
  assert list((workdir / "tensorboard").iterdir())


def test_same_line_goes_on_and_another_is_refused(trained):
  workdir, _ = trained
  again = train(
    workdir,
    **{"config.train.num_steps": 6, "config.optimizer.learning_rate": 5e-4},
  )
  assert again.returncode == 1
  line = again.stderr.strip().splitlines()[-1]
  assert line.startswith("error:") and "learning_rate is 0.0005" in line
  assert "Traceback" not in again.stderr
  more = train(workdir, **{"config.train.num_steps": 6})
  assert more.returncode == 0, more.stderr[-3000:]
  assert "going on from the checkpoint of step 4" in more.stderr


def test_evaluation_prints_and_writes_the_table(trained, tmp_path):
  workdir, _ = trained
  result = start("evaluate", workdir=workdir)
  assert result.returncode == 0, result.stderr[-3000:]
  assert "| SI-SDRi (dB) |" in result.stdout
  assert (workdir / "evaluation_valid.md").read_text() in result.stdout
  with open(workdir / "evaluation_valid.csv", newline="") as file:
    rows = list(csv.DictReader(file))
  assert [row["index"] for row in rows] == ["0", "1", "2"]
  # The same mixtures as in training: its last evaluation says the same.
  metrics = jaxsep.load(workdir / "best").metadata["metrics"]
  mean = np.mean([float(row["si_sdr_improvement"]) for row in rows])
  np.testing.assert_allclose(mean, metrics["si_sdr_improvement"], atol=1e-3)


def test_bad_flags_end_in_one_line(tmp_path):
  result = train(tmp_path, **{"config.optimizer.learning_rte": 1})
  assert result.returncode == 1 and "Traceback" not in result.stderr
  assert "learning_rte" in result.stderr.strip().splitlines()[-1]


# In this process.


@pytest.mark.parametrize("module", [conv_tasnet, conv_tasnet_small])
def test_configs_make_models_and_options(module):
  config = module.get_config()
  options = job.make_train_config(config)
  assert options.optimizer.learning_rate == 1e-3
  assert options.optimizer.clip_norm == 5
  assert options.optimizer.schedule == "plateau"
  json.dumps(job.make_task(config).describe())


def test_paper_config_is_the_model_of_the_paper():
  model = job.make_model(conv_tasnet.get_config())
  assert model == jaxsep.models.ConvTasNet()
  config = conv_tasnet.get_config()
  config.model.dtype = "bfloat16"
  config.num_sources = 3
  assert job.make_model(config).num_sources == 3


def test_corpus_without_list_keeps_speakers_for_validation(tmp_path):
  import soundfile

  rng = np.random.default_rng(0)
  for speaker in range(8):
    folder = tmp_path / f"speaker{speaker}"
    folder.mkdir()
    for i, seconds in enumerate((2.0, 0.5)):
      audio = 0.1 * rng.normal(size=int(8000 * seconds))
      soundfile.write(folder / f"{i}.wav", audio, 8000)
  config = conv_tasnet_small.get_config()
  config.data.corpus = f"speaker_folders:{tmp_path}"
  said = []
  data = job.open_data(config, say=said.append)
  assert not set(data.train.speakers) & set(data.valid.speakers)
  assert len(data.train.speakers) + len(data.valid.speakers) == 8
  # The short ones are left out.
  assert len(data.train) + len(data.valid) == 8 and len(said) == 2
  config.data.crop_s = 0.25
  batch = next(data.train_batches(0))
  assert batch["sources"].shape == (4, 2, 2000)
  resumed = data.train_batches(1)
  batches = data.train_batches(0)
  next(batches)
  np.testing.assert_array_equal(
    next(batches)["sources"], next(resumed)["sources"]
  )


def test_unknown_model():
  config = conv_tasnet.get_config()
  config.model = config_dict.create(name="ConvTas", dtype="float32")
  with pytest.raises(ValueError, match=r"model\.name is 'ConvTas'"):
    job.make_model(config)
