"""One spectrogram, as all figures show it."""

from typing import Any

import jax
import numpy as np

from jaxsep import dsp
from jaxsep.typing import Array, Float

#: Colours end so far below the loudest point of the mixture.
DYNAMIC_RANGE_DB = 60.0
COLOURS = "magma"


def spectrogram_db(
  signal: Float[Array, "*batch time"],
  *,
  sample_rate_hz: int,
  window_s: float = 0.032,
) -> np.ndarray:
  """Power of a signal over frequency and time.

  Args:
    signal: Signals, `[..., T]`.
    sample_rate_hz: Sample rate.
    window_s: Duration of the Hann window; an eighth of it is the hop.

  Returns:
    Levels in dB, `[..., F, N]`.
  """
  n_fft = max(2 * round(window_s * sample_rate_hz / 2), 16)
  spectrum = dsp.stft(
    jax.numpy.asarray(signal), n_fft=n_fft, hop_length=n_fft // 8
  )
  power = np.square(np.abs(np.asarray(spectrum)))
  return np.moveaxis(10.0 * np.log10(power + 1e-12), -1, -2)


def at_level_of(
  mixture: Float[Array, "time"], estimate: Float[Array, "sources time"]
) -> np.ndarray:
  """Channels with one gain for all that makes their sum fit the mixture best.

  A model that was trained on a scale-invariant loss has no level of its own.

  Args:
    mixture: The mixture, `[T]`.
    estimate: Its channels, `[S, T]`.

  Returns:
    The channels, `[S, T]`, as they are if nothing fits.
  """
  total = np.sum(estimate, axis=0)
  energy = float(np.sum(total**2))
  gain = abs(float(np.sum(total * mixture))) / energy if energy > 0 else 0.0
  return np.asarray(estimate) * (gain or 1.0)


def show(
  axes: Any,
  picture: np.ndarray,
  *,
  top_db: float,
  start_s: float = 0.0,
  end_s: float,
  top_khz: float,
) -> Any:
  """Draws a spectrogram into axes in seconds and kHz.

  Args:
    axes: Where to.
    picture: Levels of all the axes' time and of all frequencies, `[F, N]`.
    top_db: Level of the brightest colour.
    start_s: Time of its left edge.
    end_s: Time of its right edge.
    top_khz: Frequency of its top edge.

  Returns:
    The image, for a colour bar.
  """
  return axes.imshow(
    picture,
    origin="lower",
    aspect="auto",
    extent=(start_s, end_s, 0.0, top_khz),
    vmin=top_db - DYNAMIC_RANGE_DB,
    vmax=top_db,
    cmap=COLOURS,
    interpolation="nearest",
  )
