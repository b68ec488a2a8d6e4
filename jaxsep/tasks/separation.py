"""Separation of a mixture into its sources."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from jaxsep import json_values, losses, metrics
from jaxsep.simulate import simulate_batch
from jaxsep.tasks.task import Batch, Keys
from jaxsep.typing import Array, Float, Key


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeparationTask:
  """Trains a model `[[B]atch, [T]ime]` to `[B, [S]ources, T]`.

  The estimates may come in any order: the loss takes the best permutation of
  every example. Batches with `sources` are mixed here, inside the compiled
  step; batches with `mixture` and `reference` are taken as they are.

  Attributes:
    model: A Flax module that is called as `model(mixture, train=...)`.
    sample_rate_hz: Sample rate of everything.
    simulation: From `(key, ingredients of one example)` to a dict with
      `mixture` `[T]` and `reference` `[S, T]`: a `jaxsep.simulate.Simulation`.
      Mixtures and references that come mixed already pass through its
      `source_filter`. None adds up the sources.
    loss_function: Compares `(estimate, reference)`, one value per signal.
  """

  model: Any
  sample_rate_hz: int
  simulation: Any = None
  loss_function: Callable = losses.neg_si_snr

  def init(self, key: Key, batch: Batch) -> Any:
    """Makes all collections of the model; see `Task`."""
    name = "sources" if "sources" in batch else "mixture"
    shape = batch[name].shape
    mixture = jnp.zeros((shape[0], shape[-1]), jnp.float32)
    return dict(self.model.init(key, mixture))

  def loss(
    self,
    variables: Any,
    batch: Batch,
    *,
    keys: Keys,
    step: Any,
    frozen: Any = None,
  ) -> tuple[Float[Array, "batch"], tuple[Any, dict[str, Array]]]:
    """Mixes, separates, and compares under the best permutation."""
    mixture, reference = self._mix(batch, keys)
    fixed = ("params", "loss_params", "constants")
    names = [name for name in variables if name not in fixed]
    output, changed = self._output(
      variables,
      mixture,
      train=True,
      rngs={"dropout": keys.step("dropout")},
      mutable=names,
    )
    value, _ = self._compare(output, mixture, reference)
    return value, (dict(changed), {})

  def evaluate(
    self, variables: Any, batch: Batch, *, keys: Keys, frozen: Any = None
  ) -> dict[str, Float[Array, "..."]]:
    """Loss, ratios and improvements of every example.

    Returns:
      `loss` `[B]`, and `si_sdr`, `si_sdr_improvement`, `si_snr_improvement`
      and `mixture_si_sdr`, each `[B, S]` in dB.
    """
    mixture, reference, estimate, loss = self._separated(variables, batch, keys)
    mixture = jnp.broadcast_to(mixture[:, None], reference.shape)
    si_sdr = metrics.si_sdr(estimate, reference)
    before = metrics.si_sdr(mixture, reference)
    si_snr = metrics.si_snr(estimate, reference)
    return {
      "loss": loss,
      "si_sdr": si_sdr,
      "si_sdr_improvement": si_sdr - before,
      "si_snr_improvement": si_snr - metrics.si_snr(mixture, reference),
      "mixture_si_sdr": before,
    }

  def separate(
    self, variables: Any, batch: Batch, *, keys: Keys
  ) -> dict[str, Array]:
    """Signals of every example: `mixture` `[B, T]`, `estimate` and `reference`.

    The last two are `[B, S, T]`, the estimates in the order of the references.
    """
    mixture, reference, estimate, _ = self._separated(variables, batch, keys)
    return {"mixture": mixture, "estimate": estimate, "reference": reference}

  def demo(
    self, variables: Any, batch: Batch, *, keys: Keys, frozen: Any = None
  ) -> dict[str, Array]:
    """Signals of the first example: `separate` of a batch of one."""
    first = {name: value[:1] for name, value in batch.items()}
    keys = keys.replace(examples=keys.examples[:1])
    signals = self.separate(variables, first, keys=keys)
    return {name: value[0] for name, value in signals.items()}

  def describe(self) -> dict[str, Any]:
    """What fixes the meaning of the parameters, as JSON values."""
    return {
      "task": "separation",
      "model": json_values.encode(self.model),
      "loss": json_values.encode(self.loss_function),
      "sample_rate_hz": self.sample_rate_hz,
      "simulation": json_values.encode(self.simulation),
    }

  def _separated(self, variables, batch, keys):
    """Mixture, reference, aligned estimate and loss of a batch."""
    mixture, reference = self._mix(batch, keys)
    options = {}
    if "length" in batch and "sources" not in batch:
      # Whole recordings that are padded; what is mixed here fills its crop.
      options["length"] = batch["length"]
    output = self._output(variables, mixture, train=False, **options)
    loss, permutation = self._compare(output, mixture, reference)
    estimate = self._waveforms(output, length=mixture.shape[-1])
    return mixture, reference, losses.reorder(estimate, permutation), loss

  # What a task on other representations replaces:

  def _output(self, variables, mixture, **options):
    """The output of the model that the loss compares."""
    return self.model.apply(variables, mixture, **options)

  def _compare(self, output, mixture, reference):
    """Loss `[B]` and best permutation `[B, S]` of an output."""
    del mixture
    return losses.permutation_invariant(self.loss_function)(
      output.astype(jnp.float32), reference
    )

  def _waveforms(self, output, *, length):
    """Waveforms `[B, S, T]` of an output."""
    del length
    return output.astype(jnp.float32)

  def _mix(self, batch, keys):
    """Mixture `[B, T]` and references `[B, S, T]` of a batch."""
    if "sources" not in batch:
      missing = {"mixture", "reference"} - set(batch)
      if missing:
        raise ValueError(
          f"a batch needs sources, or mixture and reference; it has "
          f"{', '.join(sorted(batch))}"
        )
      source_filter = getattr(self.simulation, "source_filter", None)
      signals = (jnp.asarray(batch[x]) for x in ("mixture", "reference"))
      if source_filter is None:
        return tuple(signals)
      rate = self.sample_rate_hz
      return tuple(source_filter(x, sample_rate_hz=rate) for x in signals)
    if self.simulation is None:
      sources = batch["sources"]
      return jnp.sum(sources, axis=-2), sources
    mixed = simulate_batch(self.simulation, dict(batch), keys=keys.examples)
    return mixed["mixture"], mixed["reference"]
