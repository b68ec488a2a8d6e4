"""From a config to what is trained, on what, and how."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from experiments.harmonic_probes.opening import open_corpus
from experiments.harmonic_probes.run_data import Data, open_data
from jaxsep import losses, models, simulate, tasks, train

__all__ = [
  "MAY_CHANGE",
  "MODELS",
  "Data",
  "fit",
  "make_filter",
  "make_model",
  "make_task",
  "make_train_config",
  "open_corpus",
  "open_data",
]

#: Separators by the name that `config.model.name` gives.
MODELS: dict[str, Any] = {
  "ConvTasNet": models.ConvTasNet,
  "DPTNet": models.DPTNet,
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

_WAVEFORM_LOSSES = ("neg_si_snr", "neg_si_sdr", "neg_snr")
_SPECTRAL_LOSSES = ("magnitude_l2", "complex_l2")


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
  """Makes the task: the model, the mixtures, the loss.

  Args:
    config: See `configs/conv_tasnet.py`. `loss`, where there is one, names a
      function of `jaxsep.losses`; one that compares spectra is for models that
      estimate them, and theirs is `magnitude_l2` if there is none.
    model: The model, if it is not to be made from the config.

  Returns:
    The task.

  Raises:
    ValueError: If an option is at fault.
  """
  model = make_model(config) if model is None else model
  has_spectra = hasattr(model, "estimate_spectra")
  name = config.get("loss") or ("magnitude_l2" if has_spectra else "neg_si_snr")
  if name not in (*_SPECTRAL_LOSSES, *_WAVEFORM_LOSSES):
    known = ", ".join((*_SPECTRAL_LOSSES, *_WAVEFORM_LOSSES))
    raise ValueError(f"loss is {name!r}; it is one of {known}")
  if name in _SPECTRAL_LOSSES and not has_spectra:
    raise ValueError(
      f"loss is {name}, but {type(model).__name__} estimates no spectra; "
      f"choose one of {', '.join(_WAVEFORM_LOSSES)}"
    )
  options = dict(config.simulate)
  source_filter = make_filter(options.pop("source_filter", None))
  settings = {
    name: list(value) if isinstance(value, tuple) else value
    for name, value in options.items()
  }
  settings = {
    name: value
    for name, value in settings.items()
    if name not in _LATER or value != _LATER[name]
  }
  if source_filter is not None:
    settings["source_filter"] = dataclasses.asdict(source_filter)
    if isinstance(source_filter.cutoff_hz, tuple):
      settings["source_filter"]["cutoff_hz"] = list(source_filter.cutoff_hz)
  task_class = (
    tasks.SpectrogramSeparationTask
    if name in _SPECTRAL_LOSSES
    else tasks.SeparationTask
  )
  return task_class(
    model=model,
    sample_rate_hz=config.sample_rate_hz,
    simulate=simulate.make_simulator(
      sample_rate_hz=config.sample_rate_hz,
      source_filter=source_filter,
      **options,
    ),
    premixed_filter=source_filter,
    loss_function=getattr(losses, name),
    settings=settings,
  )


def make_filter(options: Any) -> simulate.Filter | None:
  """Makes the filter that `config.simulate.source_filter` describes.

  Args:
    options: Its `band` and `cutoff_hz`, and other options of a
      `simulate.Filter`; None or nothing in both leaves the examples whole.

  Returns:
    The filter, or None.

  Raises:
    ValueError: If one of the two is missing, or an option is at fault.

  Example:
    >>> print(make_filter({"band": "bandstop", "cutoff_hz": [350, 400]}))
    bandstop 350-400 Hz
  """
  options = dict(options or {})
  given = [options.get(name) is not None for name in ("band", "cutoff_hz")]
  if not any(given):
    return None
  if not all(given):
    raise ValueError(
      "simulate.source_filter needs both a band and a cutoff_hz, not "
      f"{options.get('band')} and {options.get('cutoff_hz')}"
    )
  known = [field.name for field in dataclasses.fields(simulate.Filter)]
  if unknown := sorted(set(options) - set(known)):
    raise ValueError(
      f"simulate.source_filter has no option {unknown[0]}; it has "
      f"{', '.join(known)}"
    )
  return simulate.Filter(**options)


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
