"""Rooms: convolution with a room impulse response (RIR), and its early part."""

import jax.numpy as jnp

from jaxsep import dsp
from jaxsep.typing import Array, Float


def reverberate(
  sources: Float[Array, "sources time"],
  rir: Float[Array, "sources taps"],
  *,
  early_length: int | None = None,
) -> tuple[Float[Array, "sources time"], Float[Array, "sources time"]]:
  """Reverberant speakers, and their part that is the target.

  Args:
    sources: Dry speakers, shape `[S, T]`.
    rir: Room impulse response of each, shape `[S, R]`.
    early_length: Samples after the direct sound that belong to the target; None
      makes the whole response the target.

  Returns:
    The pair `(image, target)`, each `[S, T]`, aligned with each other; what
    sounds after T samples is cut.

  Example:
    >>> dry, rir = jnp.array([[1.0, 0.0, 0.0]]), jnp.array([[0.0, 1.0, 0.5]])
    >>> image, target = reverberate(dry, rir, early_length=0)
    >>> print(image[0].round(3), target[0].round(3))
    [0.  1.  0.5] [0. 1. 0.]
  """
  time = sources.shape[-1]
  if early_length is None:
    image = dsp.fft_convolve(sources, rir)[..., :time]
    return image, image
  # The direct sound is the largest tap; nothing is shifted.
  direct = jnp.argmax(jnp.abs(rir), axis=-1)[:, None]
  taps = jnp.arange(rir.shape[-1])[None]
  early = jnp.where(taps <= direct + early_length, rir, 0.0)
  # Stacked, so that the speakers are transformed once.
  both = dsp.fft_convolve(sources[None], jnp.stack([rir, early]))[..., :time]
  return both[0], both[1]
