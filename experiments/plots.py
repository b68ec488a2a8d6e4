"""Figures that several experiments draw; needs the `plot` extra."""

import pathlib
from collections.abc import Mapping, Sequence
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

  One row for the mixture, then one for each estimate, with its reference
  behind it, and one for each reference. The estimates are in the order of the
  references. All spectrograms have the same colours.
  """
  signals = {"mixture": np.asarray(mixture)}
  for number, pair in enumerate(zip(estimate, reference, strict=True), 1):
    signals[f"estimate {number}"] = np.asarray(pair[0])
    signals[f"reference {number}"] = np.asarray(pair[1])
  figure = Figure(figsize=(12, 2.2 * len(signals)), layout="constrained")
  axes = figure.subplots(len(signals), 2, sharex=True, squeeze=False)
  loudest = max(float(np.abs(signal).max()) for signal in signals.values())
  limit = 1.05 * loudest or 1.0
  seconds = np.arange(len(mixture)) / sample_rate_hz
  for wave, (name, signal) in zip(axes[:, 0], signals.items(), strict=True):
    if name.startswith("estimate"):
      behind = signals[name.replace("estimate", "reference")]
      style: Any = {"color": "0.7", "linewidth": 0.8}
      wave.plot(seconds, behind, **style, label="its reference")
    wave.plot(seconds, signal, linewidth=0.4, label=name)
    wave.set(ylabel="amplitude (FS)", ylim=(-limit, limit))
    wave.legend(loc="upper right", fontsize="small")
  image = draw_spectrograms(axes[:, 1], signals, sample_rate_hz=sample_rate_hz)
  for spectrum, name in zip(axes[:, 1], signals, strict=True):
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


def draw_spectrograms(
  axes: Any,
  signals: Mapping[str, np.ndarray],
  *,
  sample_rate_hz: int,
  window_s: float = 0.032,
) -> Any:
  """Draws spectrograms, colours relative to the first; returns an image."""
  pictures = spectrogram_db(
    np.stack(list(signals.values())),
    sample_rate_hz=sample_rate_hz,
    window_s=window_s,
  )
  top_db = float(pictures[0].max())
  end_s = next(iter(signals.values())).shape[-1] / sample_rate_hz
  half_step_s = end_s / max(pictures.shape[-1] - 1, 1) / 2
  image: Any = None
  for place, name, picture in zip(axes, signals, pictures, strict=True):
    image = place.imshow(
      picture,
      origin="lower",
      aspect="auto",
      extent=(-half_step_s, end_s + half_step_s, 0.0, sample_rate_hz / 2000),
      vmin=top_db - DYNAMIC_RANGE_DB,
      vmax=top_db,
      cmap="magma",
      interpolation="nearest",
    )
    place.set_ylabel(f"{name}\nfrequency (kHz)")
  return image


def at_level_of(
  mixture: Float[Array, "time"], estimate: Float[Array, "sources time"]
) -> np.ndarray:
  """Channels with the common gain at which their sum fits the mixture best."""
  total = np.sum(estimate, axis=0)
  energy = float(np.sum(total**2))
  gain = abs(float(np.sum(total * mixture))) / energy if energy > 0 else 0.0
  return np.asarray(estimate) * (gain or 1.0)


def draw_box(
  axes: Any, edges: tuple[float, ...], *, colour: str, style: str = "-"
) -> None:
  """Outlines a part of a spectrogram between two times and two kHz."""
  start, end, bottom, top = edges
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
