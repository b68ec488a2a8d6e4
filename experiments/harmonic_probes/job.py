"""From a config to what is trained, on what, and how."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from experiments.harmonic_probes.opening import open_corpus
from experiments.harmonic_probes.run_data import Data, open_data
from jaxsep import models, simulate, tasks, train

__all__ = [
  "MAY_CHANGE",
  "MODELS",
  "Data",
  "fit",
  "make_model",
  "make_task",
  "make_train_config",
  "open_corpus",
  "open_data",
]

#: Separators by the name that `config.model.name` gives.
MODELS: dict[str, Any] = {
  "ConvTasNet": models.ConvTasNet,
  "SpectrogramTasNet": models.SpectrogramTasNet,
}

#: Keys of the config that say where and how fast, not what.
MAY_CHANGE = (
  "data.cache_dir",
  "data.num_threads",
  "data.corpus",
  "data.valid_corpus",
  "data.valid_speakers",
  "data.noise",
  "data.rirs",
)

# Options that came later, and what they are where a run knows none: left out
# of what describes a run, so that earlier runs still go on.
_LATER = {"overlap_ratio": [0.0, 1.0], "level_db": -25.0, "peak": 0.9}


def make_model(config: Any) -> Any:
  """Makes the model that `config.model` describes.

  Args:
    config: Its `model.name` is one of `MODELS`, ConvTasNet if not given; the
      other keys of `model` are the options of that class.

  Returns:
    The module.

  Raises:
    ValueError: If the name or an option is unknown.
  """
  options = dict(config.model)
  name = options.pop("name", "ConvTasNet")
  if name not in MODELS:
    raise ValueError(
      f"model.name is {name!r}; it is one of {', '.join(MODELS)}"
    )
  model_class = MODELS[name]
  known = [
    field.name
    for field in dataclasses.fields(model_class)
    if field.name not in ("parent", "name", "num_sources")
  ]
  if unknown := sorted(set(options) - set(known)):
    raise ValueError(
      f"{name} has no option model.{unknown[0]}; it has {', '.join(known)}"
    )
  if "dtype" in options:
    options["dtype"] = jnp.dtype(options["dtype"])
  return model_class(num_sources=config.num_sources, **options)


def make_task(config: Any, model: Any = None) -> tasks.SeparationTask:
  """Makes the task: the model, the mixtures, the loss."""
  settings = {
    name: list(value) if isinstance(value, tuple) else value
    for name, value in dict(config.simulate).items()
  }
  settings = {
    name: value
    for name, value in settings.items()
    if name not in _LATER or value != _LATER[name]
  }
  return tasks.SeparationTask(
    model=make_model(config) if model is None else model,
    sample_rate_hz=config.sample_rate_hz,
    simulate=simulate.make_simulator(
      sample_rate_hz=config.sample_rate_hz, **dict(config.simulate)
    ),
    settings=settings,
  )


def make_train_config(config: Any) -> train.TrainConfig:
  """Makes the options of the loop."""
  return train.TrainConfig(
    optimizer=train.OptimizerConfig(**dict(config.optimizer)),
    **dict(config.train),
  )


def fit(
  config: Any, *, workdir: Any, say: Callable[[str], None] = print
) -> train.FitResult:
  """Trains what a config describes, or goes on with it.

  Args:
    config: See `configs/conv_tasnet.py`.
    workdir: Folder of the run.
    say: Told how much there is to train on, in the first process.

  Returns:
    What the loop returns.

  Raises:
    ValueError: If an option or a corpus is at fault.
    train.TrainingError: If the run cannot start or go on.
  """
  first = jax.process_index() == 0
  task = make_task(config)
  data = open_data(config, say=say if first else lambda line: None)
  here = {
    "process_index": jax.process_index(),
    "process_count": jax.process_count(),
  }
  return train.fit(
    task,
    workdir=workdir,
    config=make_train_config(config),
    make_train_batches=lambda step: data.train_batches(step, **here),
    make_eval_batches=lambda: data.eval_batches(**here),
    run_config=data.describe(),
    may_change=MAY_CHANGE,
  )
