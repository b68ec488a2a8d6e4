"""A trained model as the probes use it: mixtures in, estimates out."""

import functools
import math
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.job import load_model
from jaxsep import dsp, losses, metrics
from jaxsep.train.mesh import make_mesh, replicate, shard_batch
from jaxsep.typing import Array, Float


class Separator:
  """Separates any number of mixtures of one length, batch by batch.

  Every call of one length runs the same compiled function: a batch that is
  not full is filled up. Channels come as the model gives them, unsorted. The
  devices of this host share a batch as far as they divide `batch_size`.

  Attributes:
    sample_rate_hz: Rate of the model.
    num_sources: Channels it has.
    name: What to call it in a figure.
  """

  def __init__(
    self,
    model: Any,
    variables: Any,
    *,
    sample_rate_hz: int,
    batch_size: int = 4,
  ):
    self.sample_rate_hz = sample_rate_hz
    self.num_sources = model.num_sources
    causal = "causal " if getattr(model, "is_causal", False) else ""
    self.name = causal + type(model).__name__
    self._model, self._batch_size = model, batch_size
    devices = jax.devices()
    self._mesh = make_mesh(devices[: math.gcd(len(devices), batch_size)])
    self._variables = replicate(variables, self._mesh)

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
      filled = shard_batch({"mixture": filled}, self._mesh)
      estimate = _apply(self._model, self._variables, filled["mixture"])
      estimates.append(np.asarray(estimate)[: len(batch)])
    return np.concatenate(estimates)


@functools.partial(jax.jit, static_argnums=0)
def _apply(model, variables, mixture):
  """Estimates, compiled once for all variables of a model."""
  return model.apply(variables, mixture).astype(jnp.float32)


def load_separator(
  folder: str | pathlib.Path, *, batch_size: int = 4
) -> Separator:
  """Loads a model folder, or the best model of the folder of a run."""
  loaded = load_model(folder)
  return Separator(
    loaded.model,
    loaded.variables,
    sample_rate_hz=loaded.sample_rate_hz,
    batch_size=batch_size,
  )


def in_best_order(
  estimate: Float[Array, "batch sources time"],
  reference: Float[Array, "batch sources time"],
) -> tuple[Array, Array]:
  """The channels in the order with the highest mean SI-SDR, and this order."""
  cost = losses.permutation_invariant(lambda e, r: -metrics.si_sdr(e, r))
  order = cost(estimate, reference)[1]
  return dsp.reorder(estimate, order), order
