"""Figures 4 and 7, tones that lack harmonics, and 6 and 8, gaps in them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from experiments.harmonic_probes.figures.spectrogram import (
  at_level_of,
  show,
  spectrogram_db,
)
from experiments.harmonic_probes.gap_scores import MUTED

#: Long enough to tell the harmonics apart, as no two tones sound at once.
_HARMONICS_WINDOW_S = 0.032
#: Short enough to see a gap.
_GAPS_WINDOW_S = 0.02
_TONE_COLOURS = ("red", "limegreen")


def draw_harmonics(
  examples: Mapping[str, Mapping[str, np.ndarray]],
  *,
  sample_rate_hz: int,
  seconds: tuple[float, float] = (0.5, 1.0),
  model: str = "",
) -> Figure:
  """Figures 4 and 7: mixture and both channels for sets of harmonics.

  Args:
    examples: By the name of the set, "mixture" `[T]` and "estimate"
      `[2, T]`, as `tones.probe_tones` returns them.
    sample_rate_hz: Sample rate.
    seconds: Part of the signals that is shown.
    model: Name of the model, for the title.

  Returns:
    The figure: a column for every set.
  """
  count = len(examples)
  figure = Figure(figsize=(2.6 * count + 1.4, 6.0), layout="constrained")
  axes = figure.subplots(3, count, sharex=True, sharey=True, squeeze=False)
  image: Any = None
  for column, (name, example) in zip(axes.T, examples.items(), strict=True):
    pictures, shown = _pictures(
      example, sample_rate_hz, seconds, _HARMONICS_WINDOW_S
    )
    column[0].set_title(f"harmonics {name}")
    for place, picture in zip(column, pictures, strict=True):
      image = show(place, picture, **shown, top_khz=sample_rate_hz / 2000)
    # Partials of these tones end at 2 kHz.
    column[0].set_ylim(0, min(2.2, sample_rate_hz / 2000))
    column[-1].set_xlabel("time (s)")
  for row, name in zip(
    axes, ("mixture", "channel 1", "channel 2"), strict=True
  ):
    row[0].set_ylabel(f"{name}\nfrequency (kHz)")
  figure.colorbar(image, ax=axes, label="level (dB)", aspect=50, pad=0.01)
  figure.suptitle(_titled("Alternating tones, 117 and 201 Hz", model))
  return figure


def draw_gaps(
  example: Mapping[str, Any],
  *,
  sample_rate_hz: int,
  model: str = "",
) -> Figure:
  """Figures 6 and 8: gaps, and the bursts after them in the wrong channel.

  Args:
    example: "mixture" `[T]`, "estimate" `[2, T]`, the first samples of the
      gaps "starts" and their length "gap", the samples of a "burst", and for
      every burst "wrong" and "after", as `gap_scores.burst_errors` has them.
    sample_rate_hz: Sample rate.
    model: Name of the model, for the title.

  Returns:
    The figure: arrows where a gap mutes the low tone (red) or the high one
    (green), yellow boxes around wrong bursts within 150 ms after it.
  """
  starts = np.asarray(example["starts"]) / sample_rate_hz
  length_s = len(example["mixture"]) / sample_rate_hz
  seconds = (
    max(0.0, float(starts.min()) - 0.2),
    min(length_s, float(starts.max()) + 0.4),
  )
  pictures, shown = _pictures(example, sample_rate_hz, seconds, _GAPS_WINDOW_S)
  figure = Figure(figsize=(11, 6.4), layout="constrained")
  axes = figure.subplots(3, 1, sharex=True, sharey=True)
  top_khz = min(2.2, sample_rate_hz / 2000)
  image: Any = None
  for place, picture, name in zip(
    axes, pictures, ("mixture", "channel 1", "channel 2"), strict=True
  ):
    image = show(place, picture, **shown, top_khz=sample_rate_hz / 2000)
    place.set(ylim=(0, top_khz), ylabel=f"{name}\nfrequency (kHz)")
  for start, tone in zip(starts, MUTED, strict=True):
    middle = start + example["gap"] / sample_rate_hz / 2
    axes[0].annotate(
      "",
      (middle, top_khz * 0.72),
      xytext=(middle, top_khz * 0.98),
      arrowprops={"color": _TONE_COLOURS[tone], "width": 3, "headwidth": 9},
    )
  burst_s = example["burst"] / sample_rate_hz
  wrong = np.asarray(example["wrong"]) & (np.asarray(example["after"]) >= 0)
  for number in np.flatnonzero(wrong):
    for place in axes[1:]:
      place.add_patch(
        Rectangle(
          (number * burst_s, 0.02),
          burst_s,
          top_khz - 0.06,
          fill=False,
          edgecolor="yellow",
          linewidth=1.5,
        )
      )
  axes[-1].set_xlabel("time (s)")
  axes[0].set_xlim(*seconds)
  figure.colorbar(image, ax=axes, label="level (dB)", aspect=50, pad=0.01)
  figure.legend(
    handles=[
      *(
        Line2D([], [], color=colour, marker="v", linestyle="", label=words)
        for colour, words in zip(
          _TONE_COLOURS,
          ("gap mutes the low tone", "gap mutes the high tone"),
          strict=True,
        )
      ),
      Patch(
        facecolor="0.2", edgecolor="yellow", label="burst in the wrong channel"
      ),
    ],
    loc="outside lower center",
    ncols=3,
    fontsize="small",
  )
  gap_ms = 1000 * example["gap"] / sample_rate_hz
  title = f"Gaps of {gap_ms:.0f} ms, tones of {2000 * burst_s:.0f} ms period"
  figure.suptitle(_titled(title, model))
  return figure


def _pictures(example, sample_rate_hz, seconds, window_s):
  """Spectrograms of mixture and channels, and where they lie."""
  mixture = example["mixture"]
  estimate = at_level_of(mixture, example["estimate"])
  signals = np.concatenate([mixture[None], estimate])
  pictures = spectrogram_db(
    signals, sample_rate_hz=sample_rate_hz, window_s=window_s
  )
  # From frames, which are centred, to seconds.
  total_s = signals.shape[-1] / sample_rate_hz
  frames = pictures.shape[-1]
  first, last = (
    min(frames, max(0, round(second / total_s * (frames - 1))))
    for second in seconds
  )
  if last - first < 2:
    first, last = 0, frames
  step_s = total_s / max(frames - 1, 1)
  place = {
    "top_db": float(pictures[0].max()),
    "start_s": (first - 0.5) * step_s,
    "end_s": (last - 0.5) * step_s,
  }
  return pictures[..., first:last], place


def _titled(title, model):
  """A title with the name of the model."""
  return f"{title}: {model}" if model else title
