"""Separation that is trained on spectra."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp

from jaxsep import losses
from jaxsep.tasks.separation import SeparationTask, length_of

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
  level of an example. For a silent estimate the loss is the mean share of a
  source in the mixture's power, about 0.5 for two sources.

  Attributes:
    model: A Flax module with a `dsp.Stft` as `stft` and the method
      `estimate_spectra`, called like the model, from mixtures `[B, T]` to
      complex spectra `[B, S, N, F]`: such as `models.SpectrogramTasNet`.
    loss_function: Compares two spectra `[..., N, F]`, which are zero in frames
      of padding; a function with a parameter `num_frames` gets their number.
  """

  loss_function: Callable = losses.magnitude_l2

  def _output(self, variables, mixed, **options):
    if not hasattr(self.model, "estimate_spectra"):
      raise ValueError(
        f"{type(self.model).__name__} estimates no spectra: train it with "
        "SeparationTask"
      )
    options.setdefault("method", "estimate_spectra")
    return super()._output(variables, mixed, **options)

  def _compare(self, output, mixed):
    scale, num_frames = self._scale(mixed)
    reference = self.model.stft(mixed["reference"])
    return self._permuted(
      scale * output, scale * reference, num_frames=num_frames
    )

  def _scale(self, mixed):
    """What spectra `[B, S, N, F]` are multiplied by, and their valid frames."""
    stft = self.model.stft
    num_frames = stft.num_frames(length_of(mixed))
    spectrum = stft(mixed["mixture"])[:, None]
    places = jnp.arange(spectrum.shape[-2]).reshape(1, 1, -1, 1)
    valid = places < num_frames.reshape(-1, 1, 1, 1)
    mixture = jnp.where(valid, spectrum, 0.0)
    power = jnp.sum(jnp.square(jnp.abs(mixture)), axis=(1, 2, 3))
    power = power / (jnp.maximum(num_frames, 1) * stft.num_bins)
    scale = valid / jnp.sqrt(power + _EPS).reshape(-1, 1, 1, 1)
    return scale, num_frames

  def _waveforms(self, output, mixed):
    stft, length = self.model.stft, length_of(mixed)
    return stft.inverse(
      output,
      length=mixed["mixture"].shape[-1],
      num_frames=stft.num_frames(length),
    )
