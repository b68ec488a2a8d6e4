"""A small network of masks, with layers that can be compared."""

import flax.linen as nn
import jax.numpy as jnp

from jaxsep import dsp
from jaxsep.models.coders import zero_padding

STFT = dsp.Stft(n_fft=64, hop_length=32)


class Masks(nn.Module):
  """A network with layers of one size, and a mask for each of two sources."""

  num_layers: int = 2
  stft: dsp.Stft = STFT

  def __call__(self, mixture, *, length=None, train=False):
    spectra = self.estimate_spectra(mixture, length=length, train=train)
    return self.stft.inverse(spectra, length=mixture.shape[1])

  def estimate_spectra(self, mixture, *, length=None, train=False):
    masks, spectrum, _ = self.hidden(mixture, length=length, train=train)
    return masks * spectrum[:, None]

  @nn.compact
  def hidden(self, mixture, *, length=None, train=False):
    if length is not None:
      mixture = zero_padding(mixture, length)
    spectrum = self.stft(mixture)
    x, outputs = jnp.abs(spectrum), []
    for number in range(self.num_layers):
      x = jnp.tanh(nn.Dense(5, name=f"layer_{number}")(x))
      outputs.append(x)
    masks = nn.sigmoid(nn.Dense(2 * 33, name="masks")(x))
    masks = jnp.moveaxis(masks.reshape(*x.shape[:2], 2, 33), 2, 1)
    return masks, spectrum, jnp.stack(outputs)
