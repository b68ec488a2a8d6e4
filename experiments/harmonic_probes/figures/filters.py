"""Figures 3 and 5: the SDR of filtered speech."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from experiments.harmonic_probes.filtered_speech import NATIVE

Row = dict[str, Any]

_COLOURS = {"lowpass": "tab:blue", "highpass": "tab:red"}
_WORDS = {"lowpass": "low-pass", "highpass": "high-pass"}
# Series of figure 3: key, line, marker, words.
_SERIES = (
  ("sdr_db", "-", "o", "trained on natural speech"),
  ("trained_on_filtered_sdr_db", "--", "s", "trained on filtered speech"),
  ("filtered_after_sdr_db", ":", "^", "natural speech, estimates filtered"),
)


def draw_cutoffs(table: Sequence[Row], *, model: str = "") -> Figure:
  """Figure 3: SDR over the cut-off frequency, low-pass and high-pass.

  Args:
    table: As `filtered_speech.summarize_filters` returns it; band-stops in it
      are passed over.
    model: Name of the model, for the title.

  Returns:
    The figure. Error bars are standard errors over the mixtures.
  """
  figure = Figure(figsize=(6.4, 4.4), layout="constrained")
  axes = figure.subplots()
  for band, colour in _COLOURS.items():
    lines = [row for row in table if row["band"] == band]
    lines.sort(key=lambda row: row["low_hz"])
    for key, style, marker, words in _SERIES:
      points = [(r["low_hz"], r[key]) for r in lines if r[key] is not None]
      if not points:
        continue
      errors = None
      if key == "sdr_db":
        errors = [row["sdr_error_db"] for row in lines]
      axes.errorbar(
        *zip(*points, strict=True),
        yerr=errors,
        color=colour,
        linestyle=style,
        marker=marker,
        markersize=5,
        capsize=3,
        alpha=1.0 if key == "sdr_db" else 0.7,
        label=f"{_WORDS[band]}, {words}",
      )
  _draw_native(axes, table)
  axes.set(
    xlabel="cut-off frequency (Hz)",
    xticks=sorted({row["low_hz"] for row in table if row["band"] in _COLOURS}),
    ylabel="SDR (dB)",
    title=_titled("Low-pass and high-pass filtered speech", model),
  )
  _finish(figure, axes)
  return figure


def draw_bandstops(table: Sequence[Row], *, model: str = "") -> Figure:
  """Figure 5: each band-stop as a line from its low to its high edge.

  Args:
    table: As `filtered_speech.summarize_filters` returns it; other filters in
      it are passed over.
    model: Name of the model, for the title.

  Returns:
    The figure: the line of a filter lies at its SDR. The baselines are in the
    table only, as in the paper.
  """
  figure = Figure(figsize=(6.4, 4.4), layout="constrained")
  axes = figure.subplots()
  rows = [row for row in table if row["band"] == "bandstop"]
  for number, row in enumerate(rows):
    axes.plot(
      (row["low_hz"], row["high_hz"]),
      (row["sdr_db"],) * 2,
      color="tab:green",
      linewidth=2,
      marker="|",
      markersize=9,
      label="" if number else "band-stop, trained on natural speech",
    )
  _draw_native(axes, table)
  axes.set(
    xlabel="stop-band (Hz)",
    ylabel="SDR (dB)",
    title=_titled("Band-stop filtered speech", model),
  )
  axes.xaxis.set_minor_locator(MultipleLocator(50))
  axes.grid(which="minor", axis="x", color="0.95")
  _finish(figure, axes)
  return figure


def _draw_native(axes, table):
  """A line at the SDR of natural speech."""
  for row in table:
    if row["filter"] == NATIVE:
      axes.axhline(
        row["sdr_db"],
        color="0.3",
        linestyle="-.",
        linewidth=1,
        label=f"natural speech, {row['sdr_db']:.1f} dB",
      )


def _finish(figure, axes):
  """Grid, room above the highest line, legend below the axes."""
  axes.grid(color="0.9")
  axes.set_axisbelow(True)
  axes.margins(x=0.08, y=0.12)
  # From 0 dB, so that a loss looks as large as it is.
  axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
  figure.legend(loc="outside lower center", ncols=2, fontsize="x-small")


def _titled(title, model):
  """A title with the name of the model."""
  return f"{title}: {model}" if model else title
