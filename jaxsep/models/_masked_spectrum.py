"""What separators share that estimate masks from a logarithmic spectrum."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxsep import dsp
from jaxsep.models._options import check_mixture, check_positive
from jaxsep.models.coders import zero_padding
from jaxsep.models.norms import valid_frames
from jaxsep.typing import Array, Complex, Float, Int

# Least magnitude whose logarithm is taken, the eps of float32.
_FLOOR = 1.19e-7
# Added to the variance over time.
_EPS = 1e-5

#: 25 ms Hamming windows every 10 ms at 16 kHz, 257 bins.
STFT = dsp.Stft(n_fft=512, win_length=400, hop_length=160, window="hamming")


class MaskedSpectrum(nn.Module):
  """Base of the separators: features in, masks times the spectrum out.

  A subclass has one compact method `_network(features, valid, train)`, from
  features `[B, N, F]` and the frames `[B, N, 1]` that are not padding (None for
  all) to the masks before their sigmoid, `[B, S, N, F]`, and what `hidden`
  gives of its layers.
  """

  num_sources: int = 2
  stft: dsp.Stft = STFT

  @property
  def hop_length(self) -> int:
    """Samples from one frame to the next."""
    return self.stft.hop_length

  @property
  def is_causal(self) -> bool:
    """False: estimates depend on the whole mixture."""
    return False

  @nn.nowrap
  def example_inputs(self) -> dict[str, jax.Array]:
    """Small arguments for `init`."""
    return {"mixture": jnp.zeros((1, 2 * self.stft.n_fft))}

  def __call__(
    self,
    mixture: Float[Array, "batch time"],
    *,
    length: Int[Array, "batch"] | None = None,
    train: bool = False,
  ) -> Float[Array, "batch {self.num_sources} time"]:
    """Separates the mixtures.

    Args:
      mixture: Mixtures, shape `[B, T]`.
      length: Samples of each mixture; the rest is padding, which changes
        nothing and is silent in the estimates. None if there is none.
      train: Whether dropout acts, and batch norms use the statistics of the
        batch and update their running ones.

    Returns:
      Estimates, shape `[B, S, T]`.

    Raises:
      ValueError: If the mixture is empty or has other axes, or if an option
        is impossible.
    """
    spectra = self.estimate_spectra(mixture, length=length, train=train)
    estimates = self.stft.inverse(
      spectra,
      length=mixture.shape[1],
      num_frames=None if length is None else self.stft.num_frames(length),
    )
    return estimates if length is None else zero_padding(estimates, length)

  def estimate_spectra(
    self,
    mixture: Float[Array, "batch time"],
    *,
    length: Int[Array, "batch"] | None = None,
    train: bool = False,
  ) -> Complex[Array, "batch {self.num_sources} frames bins"]:
    """Masked spectra of the mixture, `[B, S, N, F]`; see `__call__`."""
    masks, spectrum = self.masks(mixture, length=length, train=train)
    return masks * spectrum[:, None]

  def masks(
    self,
    mixture: Float[Array, "batch time"],
    *,
    length: Int[Array, "batch"] | None = None,
    train: bool = False,
  ) -> tuple[
    Float[Array, "batch {self.num_sources} frames bins"],
    Complex[Array, "batch frames bins"],
  ]:
    """Masks between 0 and 1, and the spectrum `[B, N, F]` that they scale."""
    return self._run(mixture, length, train)[:2]

  def _run(self, mixture, length, train):
    """Masks, spectrum, and what the network gives of its layers."""
    check_mixture(mixture)
    check_positive(num_sources=self.num_sources)
    valid = None
    if length is not None:
      mixture = zero_padding(mixture, length)
    spectrum = self.stft(mixture)
    if length is not None:
      num_frames = self.stft.num_frames(length)
      valid = valid_frames(num_frames, spectrum.shape[1])
    masks, hidden = self._network(_features(spectrum, valid), valid, train)
    return jax.nn.sigmoid(self._with_edges(masks)), spectrum, hidden

  def _network(self, features, valid, train):
    raise NotImplementedError

  @nn.nowrap
  def _with_edges(self, masks):
    """Masks with the neighbours' values at zero and half the sample rate.

    A mel filterbank sees neither bin, so that a loss on mel features would
    leave their masks as they were initialised.
    """
    parts = [masks[..., 1:2], masks[..., 1:-1], masks[..., -1:]]
    if self.stft.n_fft % 2 == 0:
      parts[2] = masks[..., -2:-1]
    return jnp.concatenate(parts, axis=-1)


def _features(spectrum, valid):
  """Logarithmic magnitudes, zero mean and unit variance in every bin."""
  features = jnp.log(jnp.maximum(jnp.abs(spectrum), _FLOOR))
  mean = jnp.mean(features, axis=1, keepdims=True, where=valid)
  variance = jnp.mean(
    jnp.square(features - mean), axis=1, keepdims=True, where=valid
  )
  features = (features - mean) * jax.lax.rsqrt(variance + _EPS)
  return features if valid is None else jnp.where(valid, features, 0.0)
