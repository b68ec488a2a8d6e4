"""Separation of a mixture into its sources."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxsep import json_values, losses, metrics
from jaxsep.models.coders import zero_padding
from jaxsep.simulate import simulate_batch
from jaxsep.tasks.task import Batch, Keys
from jaxsep.typing import Array, Float, Key


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeparationTask:
  """Trains a model `[[B]atch, [T]ime]` to `[B, [S]ources, T]`.

  The estimates may come in any order: the loss takes the best permutation of
  every example. Batches with `sources` are mixed here, inside the compiled
  step; batches with `mixture` and `reference` are taken as they are. An example
  that is padded to a `length` counts as if it were alone.

  Attributes:
    model: A Flax module that is called as `model(mixture, length=...,
      train=...)`; `length` `[B]` only where the batch or the simulation has it.
    sample_rate_hz: Sample rate of everything.
    simulation: From `(key, ingredients of one example)` to a dict with
      `mixture` `[T]`, `reference` `[S, T]` and, if it is shorter, `length`: a
      `jaxsep.simulate.Simulation`. Signals that come mixed already go through
      its method `filtered`. None adds up the sources.
    loss_function: Compares `(estimate, reference)`, one value per signal. Both
      are zero past their length; a function with a parameter `length` or
      `mixture` gets it.
    conditions: Names of arrays of the batch that the model is given by keyword,
      such as `("enrollment",)`.
  """

  model: Any
  sample_rate_hz: int
  simulation: Any = None
  loss_function: Callable = losses.neg_si_snr
  conditions: tuple[str, ...] = ()

  per_example_loss = True

  def init(self, key: Key, batch: Batch) -> Any:
    """Makes all collections of the model; see `Task`."""
    shape = batch["sources" if "sources" in batch else "mixture"].shape
    mixture = jnp.zeros((shape[0], shape[-1]), jnp.float32)
    return dict(self.model.init(key, mixture, **self._conditions(batch)))

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
    mixed = self._mixed(batch, keys)
    output, changed = self._trained(variables, mixed, keys)
    value, _ = self._compare(output, mixed)
    return value, (changed, {})

  def evaluate(
    self, variables: Any, batch: Batch, *, keys: Keys, frozen: Any = None
  ) -> dict[str, Float[Array, "..."]]:
    """Loss, ratios and improvements of every example.

    Returns:
      `loss` `[B]`, and `si_sdr`, `si_sdr_improvement`, `si_snr_improvement`
      and `mixture_si_sdr`, each `[B, S]` in dB.
    """
    signals, loss = self._separated(variables, batch, keys)
    estimate, reference = signals["estimate"], signals["reference"]
    mixture = jnp.broadcast_to(signals["mixture"][:, None], reference.shape)
    length = signals["length"][:, None]
    both = (estimate, mixture)
    si_sdr, before = (metrics.si_sdr(x, reference) for x in both)
    si_snr = [metrics.si_snr(x, reference, length=length) for x in both]
    return {
      "loss": loss,
      "si_sdr": si_sdr,
      "si_sdr_improvement": si_sdr - before,
      "si_snr_improvement": si_snr[0] - si_snr[1],
      "mixture_si_sdr": before,
    }

  def separate(
    self, variables: Any, batch: Batch, *, keys: Keys
  ) -> dict[str, Array]:
    """Signals of every example, zero past their `length` `[B]`.

    `mixture` is `[B, T]`; `estimate` and `reference` are `[B, S, T]`, the
    estimates in the order of the references.
    """
    return self._separated(variables, batch, keys)[0]

  def demo(
    self, variables: Any, batch: Batch, *, keys: Keys, frozen: Any = None
  ) -> dict[str, Array]:
    """Signals of the first example: `separate` of a batch of one."""
    first = {name: value[:1] for name, value in batch.items()}
    keys = keys.replace(examples=keys.examples[:1])
    signals = self.separate(variables, first, keys=keys)
    del signals["length"]
    return {name: value[0] for name, value in signals.items()}

  def describe(self) -> dict[str, Any]:
    """What fixes the meaning of the parameters, as JSON values."""
    return {
      "task": "separation",
      "model": json_values.encode(self.model),
      "loss": json_values.encode(self.loss_function),
      "sample_rate_hz": self.sample_rate_hz,
      "simulation": json_values.encode(self.simulation),
      "conditions": list(self.conditions),
    }

  def _separated(self, variables, batch, keys):
    """What `separate` returns, and the loss of every example."""
    mixed = self._mixed(batch, keys)
    output = self._output(variables, mixed, train=False)
    loss, permutation = self._compare(output, mixed)
    estimate = zero_padding(self._waveforms(output, mixed), length_of(mixed))
    signals = {name: mixed[name] for name in ("mixture", "reference")}
    signals["estimate"] = losses.reorder(estimate, permutation)
    return signals | {"length": length_of(mixed)}, loss

  def _trained(self, variables, mixed, keys, **options):
    """The output in training, and the collections that changed."""
    fixed = ("params", "loss_params", "constants")
    output, changed = self._output(
      variables,
      mixed,
      train=True,
      rngs={"dropout": keys.step("dropout")},
      mutable=[name for name in variables if name not in fixed],
      **options,
    )
    return output, dict(changed)

  # What a task on other representations replaces:

  def _output(self, variables, mixed, **options):
    """The output of the model that the loss compares."""
    if "length" in mixed:
      options["length"] = mixed["length"]
    options |= self._conditions(mixed)
    return self.model.apply(variables, mixed["mixture"], **options)

  def _compare(self, output, mixed):
    """Loss `[B]` and best permutation `[B, S]` of an output."""
    length = length_of(mixed)
    estimate = zero_padding(self._waveforms(output, mixed), length)
    return self._permuted(
      estimate, mixed["reference"], length=length, mixture=mixed["mixture"]
    )

  def _waveforms(self, output, mixed):
    """Waveforms `[B, S, T]` of an output."""
    del mixed
    return output.astype(jnp.float32)

  def _permuted(self, estimate, reference, **valid):
    """The loss and its permutation; it gets what it takes of `valid`."""
    taken = inspect.signature(self.loss_function).parameters
    options = {name: x for name, x in valid.items() if name in taken}
    compare = losses.permutation_invariant(self.loss_function)
    return compare(estimate, reference, **options)

  def _conditions(self, batch):
    """What the model is given beside the mixture."""
    if missing := [name for name in self.conditions if name not in batch]:
      raise ValueError(
        f"the batch has no {missing[0]}, a condition of the model; it has "
        f"{', '.join(sorted(batch))}"
      )
    return {name: batch[name] for name in self.conditions}

  def _mixed(self, batch, keys):
    """The batch with `mixture` `[B, T]`, `reference` and known lengths."""
    mixed = dict(batch)
    if "sources" not in batch:
      if not {"mixture", "reference"} <= set(batch):
        raise ValueError(
          f"a batch needs sources, or mixture and reference; it has "
          f"{', '.join(sorted(batch))}"
        )
      if self.simulation is not None:
        if not hasattr(self.simulation, "filtered"):
          raise ValueError(
            f"{type(self.simulation).__name__} has no method `filtered` for "
            "mixtures that are made already; leave the simulation out"
          )
        filtered = jax.vmap(self.simulation.filtered)
        for name in ("mixture", "reference"):
          signals = jnp.asarray(batch[name])
          mixed[name] = filtered(signals, length_of(mixed))
    elif self.simulation is not None:
      mixed = simulate_batch(self.simulation, mixed, keys=keys.examples)
    else:
      sources = mixed["reference"] = batch["sources"]
      mixed["mixture"] = jnp.sum(sources, axis=-2)
      if "length" in batch:
        mixed["length"] = jnp.max(batch["length"], axis=-1)
    for name in ("mixture", "reference"):
      mixed[name] = zero_padding(jnp.asarray(mixed[name]), length_of(mixed))
    return mixed


def length_of(mixed: Batch) -> Array:
  """Valid samples `[B]` of mixtures; all, where no length is known."""
  size, time = mixed["mixture"].shape
  return jnp.asarray(mixed.get("length", jnp.full(size, time, jnp.int32)))
