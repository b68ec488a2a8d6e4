"""Jobs of the second paper: configs, and stages that follow each other."""

import pathlib
from typing import Any

import jax
import numpy as np
import pytest
from random_params import random_params

import jaxsep
from experiments import job, options
from experiments.separation_for_asr import recipes, train, words
from jaxsep import losses, models, tasks
from jaxsep.train.mesh import make_mesh

CONFIGS = pathlib.Path(train.__file__).parent / "configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("[!_]*.py"))


def config_of(name, **frozen):
  """A tiny config, with the smallest layers."""
  config = recipes.tiny(options.load(f"{CONFIGS}/{name}.py"))
  model = config.model
  if model["class"] == "ConformerSeparator":
    # Large and small.
    model.num_layers = {6: 2, 2: 1}[model.num_layers]
  elif "num_layers" in model:
    model.num_layers = 1
  for field, value in {
    "size": 8,
    "num_heads": 2,
    "feedforward_size": 8,
    "kernel_size": 3,
    "max_distance": 8,
    "num_mels": 8,
  }.items():
    if field in model:
      model[field] = value
  if "conv_channels" in model:
    model.conv_channels = (2, 2) if model["class"] == "Recognizer" else 8
  if "layer_map" in config.task:
    config.task.layer_map = (1,)
  config.data.update(
    num_voices=4,
    num_valid_voices=2,
    num_utterances=10,
    num_valid_examples=2,
    batch_size=2,
    num_threads=1,
  )
  if "num_buckets" in config.data:
    config.data.num_buckets = 1
    config.data.utterance_s = 1.5
  else:
    config.data.update(crop_s=1.0, valid_crop_s=1.0, min_utterance_s=1.0)
  config.optimizer.warmup_steps = 1
  config.train.update(
    num_steps=1,
    eval_every=1,
    log_every=1,
    checkpoint_every=1,
    early_stop_patience=None,
    tensorboard=False,
  )
  if "tokenizer" in config:
    # So few texts have all letters, but not all words.
    config.tokenizer.kind = "characters"
  words = [f"--config.frozen.{key}={value}" for key, value in frozen.items()]
  options.override(config, words)
  return config


@pytest.mark.parametrize("name", NAMES)
def test_recipes_of_the_paper_and_tiny_ones(name):
  paper = options.load(f"{CONFIGS}/{name}.py")
  tiny = recipes.tiny(options.load(f"{CONFIGS}/{name}.py"))
  counts = []
  for config in (paper, tiny):
    fixed = {}
    if config.model["class"] == "Recognizer":
      fixed["sample_rate_hz"] = config.sample_rate_hz
    if ("tokenizer" in config and "stft" not in config.model) or fixed:
      fixed["num_tokens"] = 90
    model: Any = job.build(config.model, **fixed)
    shapes = jax.eval_shape(
      lambda model=model: model.init(
        jax.random.key(0), **model.example_inputs()
      )
    )
    counts.append(sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])))
    options.build(config.optimizer).make(config.train.num_steps)
  assert counts[1] < 2e6 < counts[0]


def prepared(config, **options):
  """The task of a config, and the first batch of its data."""
  data = train.open_any(config, say=lambda line: None)
  task = train.make_task(config, data=data, **options)
  batch = next(data.train_batches(0, process_index=0, process_count=1))
  return task, batch


def saved(folder, task, **options):
  """A model folder of a task, with random weights."""
  variables = random_params(task.model, **task.model.example_inputs())
  jaxsep.save(
    folder,
    task.model,
    variables,
    sample_rate_hz=task.sample_rate_hz,
    task=task.describe()["task"],
    **options,
  )
  return folder


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory):
  task, _ = prepared(config_of("recognizer"))
  folder = tmp_path_factory.mktemp("runs") / "recognizer"
  return saved(folder, task, **task.save_options)


def fit(config, folder):
  job.fit(
    config,
    train.make_task,
    workdir=folder,
    open_data=train.open_any,
    say=lambda line: None,
    mesh=make_mesh(jax.devices()[:1]),
  )
  return folder


@pytest.mark.parametrize("name", ["recognizer", "cfmr_base_lfa"])
def test_the_loss_takes_batches_of_the_data(name):
  task, batch = prepared(config_of(name))

  def loss(batch):
    variables = task.init(jax.random.key(0), batch)
    keys = tasks.Keys.of(jax.random.key(0), batch["index"], step=0)
    return task.loss(variables, batch, keys=keys, step=0)

  value, _ = jax.eval_shape(loss, batch)
  assert value.shape == (2,)


def test_a_second_stage_with_a_recogniser(recognizer, tmp_path):
  first = saved(tmp_path / "first", train.make_task(config_of("cfmr_base_lfa")))
  config = config_of("cfmr_base_lasr", recognizer=recognizer)
  config.init_from = str(first)
  second = fit(config, tmp_path / "second")
  one, other = (jaxsep.load(run).variables["params"] for run in (first, second))
  moved = jax.tree.map(lambda x, y: np.abs(x - y).max(), one, other)
  # A step of the second stage is small; from elsewhere it would not be.
  assert 0 < max(jax.tree.leaves(moved)) < 0.01
  # The tokens are those of the recogniser.
  assert (
    jaxsep.load(second).files["tokenizer"].read_bytes()
    == jaxsep.load(recognizer).files["tokenizer"].read_bytes()
  )


@pytest.mark.slow
def test_every_stage_trains_and_the_next_takes_it(tmp_path):
  recognizer = fit(config_of("recognizer"), tmp_path / "recognizer")
  assert jaxsep.load(recognizer).task == "recognition"
  first = fit(config_of("cfmr_base_lfa"), tmp_path / "first")
  second = config_of("cfmr_base_lasr", recognizer=recognizer)
  second.init_from = str(first)
  fit(second, tmp_path / "second")
  student = config_of("cfmr_small_los", teacher=first)
  model = jaxsep.load(fit(student, tmp_path / "student")).model
  assert model.num_layers == 1


def test_a_language_model_with_the_tokens_of_a_recogniser(recognizer):
  config = config_of("language_model_lstm")
  config.tokenizer.path = str(recognizer)
  data = train.open_any(config, say=lambda line: None)
  task = train.make_task(config, data=data, frozen={})
  assert isinstance(task, tasks.LanguageModelTask)
  assert task.model.num_tokens == jaxsep.load(recognizer).model.num_tokens


def test_what_a_config_asks_for():
  config = config_of("cfmr_base_lsa")
  task = train.make_task(config)
  assert isinstance(task, tasks.FeatureSeparationTask)
  assert task.num_mels is None and task.loss_function is losses.feature_l2
  assert isinstance(task.model, models.ConformerSeparator)
  for name, needed in (
    ("cfmr_small_lts", "teacher"),
    ("cfmr_base_lasr", "recognizer"),
  ):
    with pytest.raises(ValueError, match=f"frozen.{needed} is missing"):
      train.make_task(config_of(name), frozen={})
  config = config_of("recognizer")
  config.model.normalization = "global"
  with pytest.raises(ValueError, match="needs the statistics of a converted"):
    train.make_task(config, frozen={})


def test_a_folder_without_a_tokenizer(tmp_path):
  model: Any = models.ConvTasNet(
    8, masker=models.TemporalConvNet(4, 8, 4, num_blocks=1, num_repeats=1)
  )
  variables = random_params(model, **model.example_inputs())
  jaxsep.save(tmp_path / "model", model, variables, sample_rate_hz=8000)
  config = config_of("cfmr_base_lasr", recognizer=tmp_path / "model")
  with pytest.raises(ValueError, match="has no file 'tokenizer'"):
    words.make_words(config, ["a b"])
