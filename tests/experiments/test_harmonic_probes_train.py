"""Configs, and the train command: stopped, killed, spread over processes."""

import csv
import dataclasses
import importlib
import json
import os
import pathlib
import pkgutil
import shutil
import signal
import socket
import subprocess
import sys
import time
import types

import jax
import numpy as np
import pytest
from small_corpora import tiny_config

import jaxsep
from experiments import job, options
from experiments.harmonic_probes import configs, evaluate, train
from jaxsep import losses, models, tasks
from jaxsep.simulate import Filter
from jaxsep.train import TrainingError
from jaxsep.train.mesh import make_mesh

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = "experiments/harmonic_probes/configs/conv_tasnet_small.py"
STEPS = 6

# So small that it trains in seconds; an evaluation, whose compilation takes
# long beside a step, is where the runs below are stopped.
TINY = {
  "model.num_filters": 16,
  "model.masker.bottleneck_channels": 8,
  "model.masker.hidden_channels": 16,
  "model.masker.skip_channels": 8,
  "model.masker.num_blocks": 1,
  "model.masker.num_repeats": 1,
  "data.num_voices": 4,
  "data.num_valid_voices": 2,
  "data.num_valid_examples": 3,
  "data.crop_s": 0.5,
  "data.valid_crop_s": 0.5,
  "data.batch_size": 2,
  "train.eval_every": 3,
  "train.log_every": 1,
  "train.checkpoint_every": 2,
  "train.tensorboard": False,
  "train.num_steps": STEPS,
  "optimizer.schedule": "cosine",
}


class Command:
  """The train command in a process of its own, whose words go into a file."""

  def __init__(self, workdir, said, *, cache=None, config=CONFIG, flags=()):
    # One device a process, and a compiler that takes less time.
    environment = {
      **os.environ,
      "XLA_FLAGS": "--xla_backend_optimization_level=0",
    }
    if cache is not None:
      environment["JAX_COMPILATION_CACHE_DIR"] = str(cache)
      environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    self.said = said
    changes = [f"--config.{name}={value}" for name, value in TINY.items()]
    with open(said, "w") as file:
      self.process = subprocess.Popen(
        [
          *(sys.executable, "-m", "experiments.harmonic_probes.train"),
          *(f"--config={config}", f"--workdir={workdir}", *changes, *flags),
        ],
        cwd=ROOT,
        env=environment,
        stdout=file,
        stderr=file,
      )

  def text(self):
    return self.said.read_text()

  def wait_for(self, condition, *, seconds=180):
    deadline = time.monotonic() + seconds
    while not condition():
      assert self.process.poll() is None, self.text()[-3000:]
      assert time.monotonic() < deadline, self.text()[-3000:]
      time.sleep(0.01)

  def finish(self, *, code=0):
    self.process.wait(timeout=180)
    assert self.process.returncode == code, self.text()[-3000:]


@pytest.fixture(scope="module")
def start():
  """Starts commands; none of them outlives the tests."""
  commands = []

  def start_one(*args, **options):
    commands.append(Command(*args, **options))
    return commands[-1]

  yield start_one
  for command in commands:
    command.process.kill()
    command.process.wait()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, start):
  """An unbroken run: its folder, what it said, and a compile cache."""
  folder = tmp_path_factory.mktemp("runs")
  command = start(
    folder / "whole", folder / "whole.txt", cache=folder / "compiled"
  )
  command.finish()
  return folder / "whole", command.text(), folder / "compiled"


def log_of(workdir):
  lines = (workdir / "log.jsonl").read_text().splitlines()
  return [
    {k: v for k, v in json.loads(line).items() if not k.endswith("per_second")}
    for line in lines
  ]


# Runs.


def test_run_leaves_a_model_a_log_and_its_config(whole):
  workdir, said, _ = whole
  assert "parameters" in said and "step 6 evaluation" in said
  loaded = jaxsep.load(workdir)
  assert loaded.folder.name == "best" and loaded.sample_rate_hz == 8000
  config = options.load(str(workdir / "config.json"))
  assert config.model.masker.bottleneck_channels == 8
  assert job.build(config.model) == loaded.model
  assert job.build(config.train).num_steps == STEPS


def test_evaluation_prints_and_writes_the_table(whole, capsys):
  workdir, _, _ = whole
  evaluate.main([f"--workdir={workdir}"])
  shown = capsys.readouterr().out
  assert "| SI-SDRi (dB) |" in shown
  assert (workdir / "evaluation_valid.md").read_text() in shown
  with open(workdir / "evaluation_valid.csv", newline="") as file:
    rows = list(csv.DictReader(file))
  assert [row["index"] for row in rows] == ["0", "1", "2"]
  # The same mixtures as in training: its best evaluation says the same.
  metrics = jaxsep.load(workdir).metadata["metrics"]
  mean = np.mean([float(row["si_sdr_improvement"]) for row in rows])
  np.testing.assert_allclose(mean, metrics["si_sdr_improvement"], atol=1e-3)


def test_killed_run_equals_one(whole, tmp_path, start):
  folder, _, cache = whole
  parts = tmp_path / "parts"
  killed = start(parts, tmp_path / "killed.txt")
  # Past step 3, with a checkpoint of step 2.
  killed.wait_for(lambda: f"step 3/{STEPS}:" in killed.text())
  killed.wait_for((parts / "checkpoints" / "00000002").exists)
  killed.process.kill()
  killed.finish(code=-signal.SIGKILL)
  assert f"step {STEPS}/{STEPS}:" not in killed.text()
  # Its own config.json is a config.
  resumed = start(
    parts, tmp_path / "resumed.txt", cache=cache, config=parts / "config.json"
  )
  resumed.finish()
  assert "going on from the checkpoint of step" in resumed.text()

  logs = log_of(folder), log_of(parts)
  rows = [(row["step"], row["split"]) for row in logs[0]]
  assert [step for step, split in rows if split == "train"] == [*range(1, 7)]
  assert [step for step, split in rows if split == "eval"] == [3, 6]
  assert logs[0] == logs[1]
  name = "params.safetensors"
  ends = [(place / "last" / name).read_bytes() for place in (folder, parts)]
  assert ends[0] == ends[1]


@pytest.mark.slow
def test_two_processes_equal_one(whole, tmp_path, start):
  alone, _, _ = whole
  spread = tmp_path / "spread"
  with socket.socket() as probe:
    probe.bind(("localhost", 0))
    address = f"localhost:{probe.getsockname()[1]}"
  flags = ("--multihost", "--num_processes=2", "--config.train.num_steps=3")
  flags = (*flags, f"--config.optimizer.decay_steps={STEPS}")
  flags = (*flags, f"--coordinator_address={address}")
  # A row each of the same batches of two.
  commands = [
    start(
      spread, tmp_path / f"spread{i}.txt", flags=(*flags, f"--process_id={i}")
    )
    for i in range(2)
  ]
  for command in commands:
    command.finish()
  both = log_of(spread)
  first = [row for row in log_of(alone) if row["step"] <= 3]
  keys = [[(x["step"], x["split"]) for x in rows] for rows in (both, first)]
  assert keys[0] == keys[1]
  found = [[row["loss"] for row in rows] for rows in (both, first)]
  np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
  np.testing.assert_allclose(found[0], found[1], rtol=1e-3)
  # Process 0 alone speaks and writes.
  assert "step 3/3:" in commands[0].text()
  assert "step 3/3:" not in commands[1].text()


# In this process.


def test_exit_status_is_that_of_the_signal(tmp_path, monkeypatch):
  result = types.SimpleNamespace(reason="signal", signal=signal.SIGTERM)
  monkeypatch.setattr(job, "fit", lambda *_, **__: result)
  monkeypatch.setattr(job.train, "keep_freed_memory", lambda: False)
  with pytest.raises(SystemExit) as stopped:
    words = [f"--config={ROOT / CONFIG}", f"--workdir={tmp_path}"]
    job.main(train.make_task, argv=words)
  assert stopped.value.code == 128 + signal.SIGTERM


def fit(config, workdir):
  return job.fit(
    config,
    train.make_task,
    workdir=workdir,
    say=lambda line: None,
    mesh=make_mesh(jax.devices()[:1]),
  )


def test_next_stage_starts_from_parts_of_runs(whole, tmp_path):
  workdir, _, _ = whole
  config = options.load(str(workdir / "config.json"))
  words = [
    f"--config.init_from={workdir}:encoder",
    f"--config.init_from.masker/bottleneck={workdir}:masker/bottleneck",
    "--config.train.fixed=('encoder','masker/bottleneck')",
    "--config.train.num_steps=1",
  ]
  options.override(config, words)
  result = fit(config, tmp_path / "next")
  before = jaxsep.load(workdir).variables["params"]
  after = result.variables["params"]
  same = jax.tree.map(lambda a, b: bool((a == b).all()), before, after)
  assert all(jax.tree.leaves([same["encoder"], same["masker"]["bottleneck"]]))
  assert not all(jax.tree.leaves(same["decoder"]))
  # Going on needs the first run no more.
  config.init_from = str(tmp_path / "gone")
  assert fit(config, tmp_path / "next").reason == "finished"
  config.init_from = f"{workdir}:encodr"
  with pytest.raises(ValueError, match="has no part encodr; it has decoder"):
    fit(config, tmp_path / "x")


def test_run_that_goes_on_otherwise_is_refused(whole):
  workdir, _, _ = whole
  config = options.load(str(workdir / "config.json"))
  config.optimizer.learning_rate = 5e-4
  with pytest.raises((ValueError, TrainingError), match="learning_rate is"):
    fit(config, workdir)


def test_longer_run_with_a_decay_names_the_way(whole, tmp_path):
  workdir = shutil.copytree(whole[0], tmp_path / "run")
  config = options.load(str(workdir / "config.json"))
  config.train.num_steps = STEPS + 1
  with pytest.raises(ValueError, match=r"--config\.optimizer\.decay_steps=6"):
    fit(config, workdir)
  config.optimizer.decay_steps = STEPS
  assert fit(config, workdir).state.step == STEPS + 1


@pytest.mark.parametrize(
  ("words", "message"),
  [
    (["--config.optimizer.learning_rte=1"], "has no learning_rte"),
    ([], "--workdir is missing"),
    ([f"--config={ROOT / 'README.md'}"], "README.md is no config file"),
    (["--workdir=x", "--process_id=1"], "--multihost is missing"),
    (["--workdir=x", "--multihost", "--process_id=1"], "needs --coordinator"),
  ],
)
def test_mistakes_are_one_line(words, message, refused):
  words = [f"--config={ROOT / CONFIG}", *words]
  assert message in refused(job.main, train.make_task, argv=words)


def test_printed_config_is_a_config(tmp_path, capsys):
  words = [f"--config={ROOT / CONFIG}", "--print_config"]
  words += ["--config.optimizer.clip_norm=None"]
  with pytest.raises(SystemExit):
    job.main(train.make_task, argv=words)
  printed = capsys.readouterr().out
  (tmp_path / "printed.json").write_text(printed)
  config = options.load(str(tmp_path / "printed.json"))
  assert job.build(config.optimizer).clip_norm is None
  assert train.make_task(config).model.num_filters == 256


# Configs.

ALL = [info.name for info in pkgutil.iter_modules(configs.__path__)]


def config_named(name):
  return importlib.import_module(f"{configs.__name__}.{name}").get_config()


@pytest.mark.parametrize("name", ALL)
def test_every_config_makes_a_task_and_an_optimizer(name):
  config = config_named(name)
  task = train.make_task(config)
  json.dumps(task.describe())
  parts = ("data", "optimizer", "train")
  build = {part: job.build(config[part]) for part in parts}
  build["optimizer"].make(build["train"].num_steps)
  # A mixture fills its crop.
  data = build["data"]
  assert data.min_utterance_s is None or data.min_utterance_s >= data.crop_s
  # Every field of every class is an option.
  values = {"model": task.model, "simulation": task.simulation, **build}
  for part, value in values.items():
    fields = {f.name for f in dataclasses.fields(value) if f.init}
    # What Flax adds, and what the config says once.
    fields -= {"parent", "name"} if part == "model" else {"sample_rate_hz"}
    assert set(config[part]) == fields | {"class"}
  is_spectral = name.startswith("spectrogram")
  kind = (
    tasks.SpectrogramSeparationTask if is_spectral else tasks.SeparationTask
  )
  assert type(task) is kind


def test_papers_configs_are_the_papers_models():
  model = train.make_task(config_named("conv_tasnet")).model
  assert model == models.ConvTasNet()
  model = train.make_task(config_named("spectrogram_tasnet")).model
  assert model == models.SpectrogramTasNet()
  causal = train.make_task(config_named("conv_tasnet_causal")).model
  assert causal.is_causal


PREFIX = "--config.simulation."


@pytest.mark.parametrize(
  ("words", "expected"),
  [
    ([], None),
    (["band=lowpass", "cutoff_hz=300"], Filter("lowpass", 300)),
    (["band=bandstop", "cutoff_hz=(350,400)"], Filter("bandstop", (350, 400))),
    (
      ["band=highpass", "cutoff_hz=180.5", "method=fir"],
      Filter("highpass", 180.5, method="fir"),
    ),
  ],
)
def test_flags_make_the_filter(words, expected):
  config = config_named("conv_tasnet_small_corpus")
  options.override(config, [f"{PREFIX}source_filter.{word}" for word in words])
  options.override(config, [f"{PREFIX}level_db=None"])
  again = options.make_config(**options.to_json(config))
  for made in (config, again):
    simulation = train.make_task(made).simulation
    assert simulation.source_filter == expected
    assert simulation.level_db is None


def test_losses_are_chosen_by_name():
  config = tiny_config()
  for name in ("neg_sdr", "neg_si_sdr", "neg_snr"):
    options.override(config, [f"--config.loss={name}"])
    assert train.make_task(config).loss_function is getattr(losses, name)
  config.loss = options.options(losses.magnitude_l2)
  with pytest.raises(ValueError, match="ConvTasNet estimates no spectra"):
    train.make_task(config)
  spectral = config_named("spectrogram_tasnet")
  options.override(spectral, ["--config.loss=neg_si_snr"])
  assert type(train.make_task(spectral)) is tasks.SeparationTask
