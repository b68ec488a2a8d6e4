"""Figures that several experiments draw; needs the `plot` extra."""

import pathlib
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from jaxsep import dsp
from jaxsep.typing import Array, Float

#: Colours end this far below the loudest point of the mixture.
DYNAMIC_RANGE_DB = 60.0


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
    estimate: The estimated speakers, shape `[S, T]`.
    reference: The speakers that were mixed, in the same order, `[S, T]`.
    sample_rate_hz: Sample rate.
    title: Put above the figure.
  """
  mixture, estimate, reference = map(np.asarray, (mixture, estimate, reference))
  rows: list[tuple[str, Any, Any]] = [("mixture", mixture, None)]
  for number, (found, wanted) in enumerate(
    zip(estimate, reference, strict=True), start=1
  ):
    rows.append((f"estimate {number}", found, wanted))
    rows.append((f"reference {number}", wanted, None))
  signals = np.stack([signal for _, signal, _ in rows])
  pictures = spectrogram_db(signals, sample_rate_hz=sample_rate_hz)
  figure = Figure(figsize=(12, 2.2 * len(rows)), layout="constrained")
  axes = figure.subplots(len(rows), 2, sharex=True, squeeze=False)
  limit = 1.05 * float(np.abs(signals).max()) or 1.0
  seconds = np.arange(len(mixture)) / sample_rate_hz
  image: Any = None
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
    image = show_spectrogram(
      spectrum,
      picture,
      top_db=float(pictures[0].max()),
      end_s=len(mixture) / sample_rate_hz,
      top_khz=sample_rate_hz / 2000,
    )
    spectrum.set(ylabel="frequency (kHz)", title=name)
  for bottom in axes[-1]:
    bottom.set_xlabel("time (s)")
  figure.colorbar(image, ax=axes[:, 1], label="level (dB)", aspect=60)
  if title:
    figure.suptitle(title)
  figure.savefig(path, dpi=110)


def spectrogram_db(
  signal: Float[Array, "*batch time"],
  *,
  sample_rate_hz: int,
  window_s: float = 0.032,
) -> np.ndarray:
  """Levels in dB `[..., F, N]`; the hop is an eighth of the Hann window."""
  window = max(2 * round(window_s * sample_rate_hz / 2), 16)
  stft = dsp.Stft(n_fft=window, hop_length=window // 8)
  power = np.square(np.abs(np.asarray(stft(jnp.asarray(signal)))))
  return np.moveaxis(10.0 * np.log10(power + 1e-12), -1, -2)


def show_spectrogram(
  axes: Any,
  picture: np.ndarray,
  *,
  top_db: float,
  end_s: float,
  top_khz: float,
) -> Any:
  """Draws levels in dB `[F, N]`, from `top_db` down; returns the image."""
  half_step_s = end_s / max(picture.shape[-1] - 1, 1) / 2
  return axes.imshow(
    picture,
    origin="lower",
    aspect="auto",
    extent=(-half_step_s, end_s + half_step_s, 0.0, top_khz),
    vmin=top_db - DYNAMIC_RANGE_DB,
    vmax=top_db,
    cmap="magma",
    interpolation="nearest",
  )


def at_level_of(
  mixture: Float[Array, "time"], estimate: Float[Array, "sources time"]
) -> np.ndarray:
  """Channels with one common gain, so that their sum fits the mixture best.

  A model trained on a scale-invariant loss has no level of its own.
  """
  total = np.sum(estimate, axis=0)
  energy = float(np.sum(total**2))
  gain = abs(float(np.sum(total * mixture))) / energy if energy > 0 else 0.0
  return np.asarray(estimate) * (gain or 1.0)


def draw_box(
  axes: Any,
  start: float,
  end: float,
  bottom: float,
  top: float,
  *,
  colour: str,
  style: str = "-",
) -> None:
  """Draws the outline of a part of a spectrogram, in seconds and kHz."""
  box = Rectangle((start, bottom), end - start, top - bottom, fill=False)
  box.set(edgecolor=colour, linestyle=style, linewidth=1.5)
  axes.add_patch(box)


def finish_spectrograms(
  figure: Figure, axes: Any, image: Any, title: str, handles: Sequence[Any] = ()
) -> None:
  """Labels the time below, and adds a colour bar, a title and a legend."""
  for bottom in np.atleast_1d(axes[-1]):
    bottom.set_xlabel("time (s)")
  figure.colorbar(image, ax=axes, label="level (dB)", aspect=50, pad=0.01)
  figure.suptitle(title)
  if handles:
    place: Any = {"loc": "outside lower center", "ncols": 3}
    figure.legend(handles=handles, fontsize="small", **place)
