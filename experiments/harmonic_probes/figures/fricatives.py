"""Figure 2: fricatives that come out of the wrong channel."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from experiments.harmonic_probes.figures.spectrogram import (
  at_level_of,
  show,
  spectrogram_db,
)
from experiments.harmonic_probes.fricatives import BAND_HZ


def draw_fricatives(
  example: Mapping[str, Any], *, sample_rate_hz: int, model: str = ""
) -> Figure:
  """Spectrograms of a mixture, its estimates and references, with boxes.

  Args:
    example: "mixture" `[T]`; "estimate" and "reference" `[S, T]`, the
      estimates in the order of the references; and "boxes", the fricatives
      in the wrong channel, `(talker, start, end)` in seconds.
    sample_rate_hz: Sample rate.
    model: Name of the model, for the title.

  Returns:
    The figure: red boxes on the band of a talker's misplaced fricatives, in
    the reference and where they are missing, dashed where they went to.
  """
  reference = example["reference"]
  estimate = at_level_of(example["mixture"], example["estimate"])
  rows = [("mixture", example["mixture"])]
  for name, signals in (("estimate", estimate), ("reference", reference)):
    rows += [(f"{name} {n + 1}", x) for n, x in enumerate(signals)]
  pictures = spectrogram_db(
    np.stack([signal for _, signal in rows]), sample_rate_hz=sample_rate_hz
  )
  seconds, top_khz = (
    len(example["mixture"]) / sample_rate_hz,
    sample_rate_hz / 2000,
  )
  figure = Figure(figsize=(10, 1.7 * len(rows) + 1.0), layout="constrained")
  axes = figure.subplots(len(rows), 1, sharex=True, sharey=True)
  image: Any = None
  top_db = float(pictures[0].max())
  for place, (name, _), picture in zip(axes, rows, pictures, strict=True):
    image = show(place, picture, top_db=top_db, end_s=seconds, top_khz=top_khz)
    place.set_ylabel(f"{name}\n(kHz)")
  count = len(reference)
  for talker, start, end in example["boxes"]:
    for source in range(count):
      _box(axes[1 + source], start, end, top_khz, own=source == talker)
    _box(axes[1 + count + talker], start, end, top_khz, own=True)
  axes[-1].set_xlabel("time (s)")
  figure.colorbar(image, ax=axes, label="level (dB)", aspect=50, pad=0.01)
  figure.legend(
    handles=[
      Line2D([], [], color="red", label="fricative of this talker, misplaced"),
      Line2D([], [], color="red", linestyle="--", label="where it went"),
    ],
    loc="outside lower center",
    ncols=2,
    fontsize="small",
  )
  title = "Fricatives in the wrong channel"
  figure.suptitle(f"{title}: {model}" if model else title)
  return figure


def _box(axes, start, end, top_khz, *, own):
  """A box on the band of fricatives."""
  low = BAND_HZ / 1000
  axes.add_patch(
    Rectangle(
      (start, low),
      end - start,
      top_khz - low - 0.04,
      fill=False,
      edgecolor="red",
      linestyle="-" if own else "--",
      linewidth=1.6,
    )
  )
