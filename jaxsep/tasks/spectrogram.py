"""Separation that is trained on spectra."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp

from jaxsep import losses
from jaxsep.tasks.separation import SeparationTask

# Mean power of a spectrum below which a mixture counts as silent.
_EPS = 1e-12


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpectrogramSeparationTask(SeparationTask):
  """Trains a model by the spectra of its estimates; reports waveforms.

  As `SeparationTask`, but the loss compares the masked spectra of the mixture
  with the spectra of the references, under the best permutation of the whole
  example. With the loss of the paper, `losses.magnitude_l2`, that is
  `(M |Y| - |S|)^2` in the mean over frames, bins and sources;
  `losses.complex_l2` compares the phases too.

  Before the comparison, spectra are divided by the level of the mixture, its
  root mean square over frames and bins: so the loss does not depend on the
  level of an example. An estimate of zero has as its loss the mean share of a
  source in the mixture's power, about 0.5 for two sources.

  Attributes:
    model: A Flax module with the methods `estimate_spectra`, from mixtures
      `[B, T]` to complex spectra `[B, S, N, F]`, and, without parameters,
      `analyze` and `synthesize`, such as `models.SpectrogramTasNet`.
    sample_rate_hz: Sample rate of everything.
    simulation: See `SeparationTask`.
    loss_function: Compares two spectra `[..., N, F]`.
  """

  loss_function: Callable = losses.magnitude_l2

  def _output(self, variables, mixture, **options):
    if not hasattr(self.model, "estimate_spectra"):
      raise ValueError(
        f"{type(self.model).__name__} estimates no spectra: train it with "
        "SeparationTask"
      )
    return super()._output(
      variables, mixture, method="estimate_spectra", **options
    )

  def _compare(self, output, mixture, reference):
    power = jnp.square(jnp.abs(self.model.analyze(mixture)))
    level = jnp.sqrt(jnp.mean(power, axis=(-2, -1)) + _EPS)
    scale = (1.0 / level)[:, None, None, None]
    return losses.permutation_invariant(self.loss_function)(
      scale * output, scale * self.model.analyze(reference)
    )

  def _waveforms(self, output, *, length):
    return self.model.synthesize(output, length=length)
