"""Separation of a mixture into its sources."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxsep import losses, metrics
from jaxsep.simulate import simulate_batch
from jaxsep.tasks.task import Batch
from jaxsep.typing import Array, Float, Key


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeparationTask:
  """Trains a model `[[B]atch, [T]ime]` to `[B, [S]ources, T]`.

  The estimates may come in any order: the loss takes the best permutation of
  every example. Batches with `sources` are mixed here, inside the compiled
  step; batches with `mixture` and `reference` are taken as they are.

  Attributes:
    model: A Flax module, or anything with its `init` and `apply`.
    sample_rate_hz: Sample rate of everything.
    simulate: From `(key, ingredients of one example)` to a dict with
      `mixture` `[T]` and `reference` `[S, T]`, as made by
      `jaxsep.simulate.make_simulator`. None adds up the sources.
    premixed_filter: Filters mixtures and references that come mixed already,
      alike: `(signals, sample_rate_hz=...)`, such as a
      `jaxsep.simulate.Filter`. What is mixed here, `simulate` filters itself.
    loss_function: Compares `(estimate, reference)`, one value per signal.
    settings: What fixes `simulate` and `premixed_filter`, as JSON values; part
      of `describe`.
  """

  model: Any
  sample_rate_hz: int
  simulate: Callable | None = None
  premixed_filter: Callable | None = None
  loss_function: Callable = losses.neg_si_snr
  settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  def init(self, key: Key, batch: Batch) -> tuple[Any, Any]:
    """Makes the parameters and other variables of the model.

    Args:
      key: Key of the initial values.
      batch: As `loss` takes it; only the shapes count.

    Returns:
      `(params, model_state)`.
    """
    name = "sources" if "sources" in batch else "mixture"
    shape = batch[name].shape
    variables = dict(
      self.model.init(key, jnp.zeros((shape[0], shape[-1]), jnp.float32))
    )
    return variables.pop("params"), variables

  def loss(
    self, params: Any, model_state: Any, batch: Batch, *, key: Key
  ) -> tuple[Float[Array, "batch"], tuple[Any, dict[str, Array]]]:
    """Mixes, separates, and compares under the best permutation.

    Args:
      params: Parameters.
      model_state: Other variables of the model.
      batch: Ingredients or mixtures.
      key: Root key of the run.

    Returns:
      `(loss [B], (model_state, {}))`.
    """
    mixture, reference = self._mix(batch, key)
    names = list(model_state)
    variables = {"params": params, **model_state}
    if names:
      output, model_state = self._output(variables, mixture, mutable=names)
    else:
      output = self._output(variables, mixture)
    value, _ = self._compare(output, mixture, reference)
    return value, (model_state, {})

  def evaluate(
    self, params: Any, model_state: Any, batch: Batch, *, key: Key
  ) -> dict[str, Float[Array, "batch"]]:
    """Loss, ratios and improvements of every example.

    Args:
      params: Parameters.
      model_state: Other variables of the model.
      batch: Ingredients or mixtures.
      key: Key of the mixtures.

    Returns:
      `loss`, `si_sdr`, `si_sdr_improvement`, `si_snr_improvement` and
      `mixture_si_sdr`, each `[B]`: means over the sources, in dB.
    """
    mixture, reference, estimate, loss = self._separated(
      params, model_state, batch, key
    )
    mixture = jnp.broadcast_to(mixture[:, None], reference.shape)
    si_sdr = metrics.si_sdr(estimate, reference)
    before = metrics.si_sdr(mixture, reference)
    si_snr = metrics.si_snr(estimate, reference)
    values = {
      "si_sdr": si_sdr,
      "si_sdr_improvement": si_sdr - before,
      "si_snr_improvement": si_snr - metrics.si_snr(mixture, reference),
      "mixture_si_sdr": before,
    }
    values = {name: jnp.mean(value, -1) for name, value in values.items()}
    return {"loss": loss, **values}

  def demo(
    self, params: Any, model_state: Any, batch: Batch, *, key: Key
  ) -> dict[str, Array]:
    """Signals of the first example.

    Args:
      params: Parameters.
      model_state: Other variables of the model.
      batch: Ingredients or mixtures.
      key: Key of the mixtures.

    Returns:
      `mixture` `[T]`, `estimate` and `reference` `[S, T]`, the estimates in
      the order of the references.
    """
    first = {name: value[:1] for name, value in batch.items()}
    mixture, reference, estimate, _ = self._separated(
      params, model_state, first, key
    )
    return {
      "mixture": mixture[0],
      "estimate": estimate[0],
      "reference": reference[0],
    }

  def separate(
    self, params: Any, model_state: Any, batch: Batch, *, key: Key
  ) -> dict[str, Array]:
    """Signals of every example, estimates in the order of the references.

    Args:
      params: Parameters.
      model_state: Other variables of the model.
      batch: Ingredients or mixtures.
      key: Key of the mixtures.

    Returns:
      `mixture` `[B, T]`, `estimate` and `reference` `[B, S, T]`.
    """
    mixture, reference, estimate, _ = self._separated(
      params, model_state, batch, key
    )
    return {"mixture": mixture, "estimate": estimate, "reference": reference}

  def describe(self) -> dict[str, Any]:
    """What fixes the meaning of the parameters, as JSON values."""
    return {
      "task": "separation",
      "model": _describe(self.model),
      "loss": getattr(self.loss_function, "__name__", "custom"),
      "sample_rate_hz": self.sample_rate_hz,
      "simulate": dict(self.settings),
    }

  def num_seconds(self, batch: Batch) -> float:
    """Seconds of mixtures in a batch, from its shapes.

    Args:
      batch: Examples, pre-mixed or to be mixed.

    Returns:
      Seconds of all mixtures together.
    """
    name = "sources" if "sources" in batch else "mixture"
    shape = np.shape(batch[name])
    return shape[0] * shape[-1] / self.sample_rate_hz

  def save(
    self, folder: Any, params: Any, model_state: Any, *, metadata: Any = None
  ) -> None:
    """Writes the model folder that `jaxsep.load` reads.

    Args:
      folder: Where to.
      params: Parameters.
      model_state: Other variables; a model folder has no place for them.
      metadata: JSON values to keep with the model.

    Raises:
      ValueError: If the model has other variables than parameters.
    """
    from jaxsep import model_io

    if model_state:
      raise ValueError(
        f"a model folder holds parameters only, not {', '.join(model_state)}"
      )
    model_io.save(
      folder,
      self.model,
      params,
      sample_rate_hz=self.sample_rate_hz,
      task="separation",
      metadata=metadata,
    )

  def _separated(self, params, model_state, batch, key):
    """Mixture, reference, aligned estimate and loss of a batch."""
    mixture, reference = self._mix(batch, key)
    output = self._output({"params": params, **model_state}, mixture)
    loss, permutation = self._compare(output, mixture, reference)
    estimate = self._waveforms(output, length=mixture.shape[-1])
    return mixture, reference, losses.reorder(estimate, permutation), loss

  def _output(self, variables, mixture, **options):
    """What the model makes of mixtures, and the loss compares."""
    return self.model.apply(variables, mixture, **options)

  def _compare(self, output, mixture, reference):
    """Loss `[B]` and best permutation `[B, S]` of a model's output."""
    del mixture
    return losses.permutation_invariant(self.loss_function)(
      output.astype(jnp.float32), reference
    )

  def _waveforms(self, output, *, length):
    """Waveforms `[B, S, T]` of a model's output."""
    del length
    return output.astype(jnp.float32)

  def _mix(self, batch, key):
    """Mixture `[B, T]` and references `[B, S, T]` of a batch."""
    if "sources" not in batch:
      missing = {"mixture", "reference"} - set(batch)
      if missing:
        raise ValueError(
          f"a batch needs sources, or mixture and reference; it has "
          f"{', '.join(sorted(batch))}"
        )
      return tuple(
        self._filtered(jnp.asarray(batch[name]))
        for name in ("mixture", "reference")
      )
    if self.simulate is None:
      sources = batch["sources"]
      return jnp.sum(sources, axis=-2), sources
    mixed = simulate_batch(self.simulate, dict(batch), key=key)
    return mixed["mixture"], mixed["reference"]

  def _filtered(self, signals):
    """Signals that came mixed, filtered where that is wanted."""
    if self.premixed_filter is None:
      return signals
    return self.premixed_filter(signals, sample_rate_hz=self.sample_rate_hz)


def _describe(model):
  """Name and hyper-parameters of a model, as JSON values."""
  fields = {}
  if dataclasses.is_dataclass(model):
    for field in dataclasses.fields(model):
      if field.name not in ("parent", "name", "remat"):
        fields[field.name] = _json(getattr(model, field.name))
  return {"name": type(model).__name__, **fields}


def _json(value):
  """A hyper-parameter as a JSON value."""
  if value is None or isinstance(value, bool | int | str):
    return value
  if isinstance(value, float):
    return value if math.isfinite(value) else str(value)
  if isinstance(value, list | tuple):
    return [_json(item) for item in value]
  if isinstance(value, dict):
    return {str(name): _json(item) for name, item in value.items()}
  try:
    return jnp.dtype(value).name
  except TypeError:
    return getattr(value, "__name__", str(value))
