"""Figures that several experiments draw; needs the `eval` extra."""

import pathlib

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from jaxsep import dsp
from jaxsep.typing import Array, Float

#: Spectrograms end so far below the loudest point of the mixture.
_DYNAMIC_RANGE_DB = 60.0
_WINDOW_S = 0.032


def plot_separation(
  path: str | pathlib.Path,
  mixture: Float[Array, "time"],
  estimate: Float[Array, "sources time"],
  reference: Float[Array, "sources time"],
  *,
  sample_rate_hz: int,
  title: str = "",
) -> None:
  """Draws waveforms and spectrograms of a separated mixture.

  One row for the mixture, then one for each estimate, its reference behind
  it, and one for each reference. All spectrograms have the same colours.

  Args:
    path: The picture; a file of that name is replaced.
    mixture: What was separated, shape `[T]`.
    estimate: The voices found, shape `[S, T]`.
    reference: The voices that were mixed, in the same order, shape `[S, T]`.
    sample_rate_hz: Sample rate.
    title: Put above the figure.
  """
  mixture, estimate, reference = map(np.asarray, (mixture, estimate, reference))
  rows = [("mixture", mixture, None)]
  for number, (found, wanted) in enumerate(
    zip(estimate, reference, strict=True), start=1
  ):
    rows.append((f"estimate {number}", found, wanted))
    rows.append((f"reference {number}", wanted, None))
  pictures = [_spectrogram_db(signal, sample_rate_hz) for _, signal, _ in rows]
  top = float(np.max(pictures[0]))
  figure = Figure(figsize=(12, 2.2 * len(rows)), layout="constrained")
  axes = figure.subplots(len(rows), 2, sharex=True, squeeze=False)
  loudest = max(float(np.abs(signal).max()) for _, signal, _ in rows)
  limit = 1.05 * loudest or 1.0
  seconds = np.arange(len(mixture)) / sample_rate_hz
  images = []
  for (wave, spectrum), (name, signal, behind), picture in zip(
    axes, rows, pictures, strict=True
  ):
    if behind is not None:
      wave.plot(
        seconds, behind, color="0.7", linewidth=0.8, label="its reference"
      )
    wave.plot(seconds, signal, linewidth=0.4, label=name)
    wave.set(ylabel="amplitude (FS)", ylim=(-limit, limit))
    wave.legend(loc="upper right", fontsize="small")
    image = spectrum.imshow(
      picture,
      origin="lower",
      aspect="auto",
      extent=(0.0, seconds[-1], 0.0, sample_rate_hz / 2000.0),
      vmin=top - _DYNAMIC_RANGE_DB,
      vmax=top,
      cmap="magma",
    )
    images.append(image)
    spectrum.set(ylabel="frequency (kHz)", title=name)
  for bottom in axes[-1]:
    bottom.set_xlabel("time (s)")
  figure.colorbar(images[0], ax=axes[:, 1], label="level (dB)", aspect=60)
  if title:
    figure.suptitle(title)
  figure.savefig(path, dpi=110)


def _spectrogram_db(signal, sample_rate_hz):
  """Power in dB, shape `[F, N]`."""
  n_fft = 2 ** round(np.log2(_WINDOW_S * sample_rate_hz))
  spectrum = dsp.stft(jnp.asarray(signal), n_fft=n_fft, hop_length=n_fft // 4)
  power = np.square(np.abs(np.asarray(spectrum))).T
  return 10.0 * np.log10(power + 1e-10)
