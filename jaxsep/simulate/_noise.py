"""Noise of rooms."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep import dsp
from jaxsep.typing import Array, Float, Key

# Spectrum of room noise by Hoth (1941): density in dB at frequencies in Hz.
_HOTH_HZ = (
  *(100, 125, 160, 200, 250, 315, 400, 500, 630, 800),
  *(1000, 1250, 1600, 2000, 2500, 3150, 4000, 5000, 6300, 8000),
)
_HOTH_DB = (
  *(32.4, 30.9, 29.1, 27.6, 26.0, 24.4, 22.7, 21.1, 19.5, 17.8),
  *(16.2, 14.6, 12.9, 11.3, 9.6, 7.8, 5.4, 2.6, -1.3, -6.6),
)


def hoth_noise(
  key: Key, length: int, *, sample_rate_hz: float | int
) -> Float[Array, "time"]:
  """Gaussian noise with the spectrum of quiet rooms.

  Noise that comes from all directions alike is such to one microphone. The
  level is held below 100 Hz and above 8 kHz; there is nothing at 0 Hz.

  Args:
    key: Random key.
    length: Samples T.
    sample_rate_hz: Sample rate.

  Returns:
    Noise `[T]` with an expected power of 1.

  References:
    Hoth, Room noise spectra at subscribers' telephone locations, 1941.

  Example:
    >>> noise = hoth_noise(jax.random.key(0), 8000, sample_rate_hz=8000)
    >>> print(noise.shape)
    (8000,)
  """
  n_fft = dsp.fast_length(length)
  frequency = np.arange(n_fft // 2 + 1) * (sample_rate_hz / n_fft)
  gain = 10 ** (np.interp(frequency, _HOTH_HZ, _HOTH_DB) / 20)
  gain[0] = 0
  # Both halves of the spectrum have the power, the middle bin is there once.
  power = (2 * np.sum(gain[:-1] ** 2) + gain[-1] ** 2) / n_fft
  gain = jnp.asarray(gain / np.sqrt(power), jnp.float32)
  white = jax.random.normal(key, (n_fft,))
  return jnp.fft.irfft(jnp.fft.rfft(white) * gain, n_fft)[:length]
