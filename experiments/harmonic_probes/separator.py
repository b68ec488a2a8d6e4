"""A trained model as the probes use it: mixtures in, estimates out."""

import functools
import json
import math
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxsep
from jaxsep.train.mesh import by_example, make_mesh, replicated
from jaxsep.typing import Array, Float


class Separator:
  """Separates any number of mixtures of one length, batch by batch.

  Every call of one length runs the same compiled function: a batch that is
  not full is filled up. Channels come as the model gives them, unsorted.

  Attributes:
    sample_rate_hz: Rate of the model.
    num_sources: Channels it has.
    name: What to call it in a figure.
  """

  def __init__(
    self,
    model: Any,
    params: Any,
    *,
    sample_rate_hz: int,
    name: str = "",
    batch_size: int = 4,
  ):
    """Takes a model and its parameters.

    Args:
      model: A module `[B, T] -> [B, S, T]`.
      params: Its parameters.
      sample_rate_hz: Rate of its signals.
      name: What to call it; that of its class if empty.
      batch_size: Mixtures at a time, shared by the devices of this host as
        far as they divide it.

    Raises:
      ValueError: If `batch_size` is not positive.
    """
    if batch_size < 1:
      raise ValueError(f"batch_size is {batch_size}, expected at least 1")
    self.sample_rate_hz = sample_rate_hz
    self.num_sources = model.num_sources
    self.name = name or describe(model)
    self._model, self._batch_size = model, batch_size
    devices = jax.devices()
    devices = devices[: math.gcd(len(devices), batch_size)]
    mesh = make_mesh(devices)
    self._params = jax.device_put(params, replicated(mesh))
    self._sharding = by_example(mesh)

  def __call__(
    self, mixture: Float[Array, "mixtures time"]
  ) -> Float[np.ndarray, "mixtures sources time"]:
    """Separates mixtures, shape `[N, T]`, into `[N, S, T]`."""
    mixture = np.asarray(mixture, np.float32)
    estimates = []
    for first in range(0, len(mixture), self._batch_size):
      batch = mixture[first : first + self._batch_size]
      rest = self._batch_size - len(batch)
      filled = np.pad(batch, ((0, rest), (0, 0)), mode="edge")
      filled = jax.device_put(filled, self._sharding)
      estimate = _apply(self._model, self._params, filled)
      estimates.append(np.asarray(estimate)[: len(batch)])
    return np.concatenate(estimates)


@functools.partial(jax.jit, static_argnums=0)
def _apply(model, params, mixture):
  """Estimates, compiled once for all parameters of a model."""
  return model.apply({"params": params}, mixture).astype(jnp.float32)


def describe(model: Any) -> str:
  """What to call a model in a figure.

  Args:
    model: A module of `jaxsep.models`.

  Returns:
    The name of its class, and whether it is causal.
  """
  name = type(model).__name__
  return f"causal {name}" if getattr(model, "causal", False) else name


def load_separator(
  folder: str | pathlib.Path, *, name: str = "", batch_size: int = 4
) -> Separator:
  """Loads a model folder, or the best model of the folder of a run.

  Args:
    folder: Either of them.
    name: What to call the model.
    batch_size: Mixtures at a time.

  Returns:
    The separator.

  Raises:
    ValueError: If there is no model.
  """
  loaded = jaxsep.load(find_model(folder))
  return Separator(
    loaded.model,
    loaded.params,
    sample_rate_hz=loaded.sample_rate_hz,
    name=name,
    batch_size=batch_size,
  )


def find_model(folder: str | pathlib.Path) -> pathlib.Path:
  """The model folder that a path means.

  Args:
    folder: A model folder, or the folder of a run, whose best model is meant,
      and otherwise its last.

  Returns:
    A model folder.

  Raises:
    ValueError: If it is the folder of a run that has no model yet.
  """
  folder = pathlib.Path(folder)
  try:
    config = json.loads((folder / "config.json").read_text())
  except (OSError, ValueError):
    return folder  # `jaxsep.load` says what is wrong with it.
  if not isinstance(config, dict) or config.get("format") != "jaxsep run":
    return folder
  for name in ("best", "last"):
    if (folder / name / "config.json").exists():
      return folder / name
  raise ValueError(f"{folder} holds no model yet: neither best nor last")
