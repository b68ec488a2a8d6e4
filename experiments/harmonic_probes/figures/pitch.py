"""Figure 9: the order of the channels by pitch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

Row = dict[str, Any]

# Least standard deviation of the smoothing, in octaves.
_NARROWEST = 0.02


def draw_f0_order(rows: Sequence[Row], *, model: str = "") -> Figure:
  """Density over mixtures of the ratio of the channels' average pitch.

  Args:
    rows: As `f0_order.probe_f0_order` returns them.
    model: Name of the model, for the title.

  Returns:
    The figure: a smoothed density (Gaussian, of Silverman's width) over a
    histogram, and the share of the mixtures on either side of zero.
  """
  figure = Figure(figsize=(6.4, 4.4), layout="constrained")
  axes = figure.subplots()
  ratio = np.array([row["log2_ratio"] for row in rows])
  ratio = ratio[np.isfinite(ratio)]
  reach = 1.15 * max(1.0, np.abs(ratio).max(initial=0.0))
  if len(ratio):
    edges = np.linspace(-reach, reach, 41)
    axes.hist(
      ratio, edges.tolist(), density=True, color="0.85", label="histogram"
    )
    where = np.linspace(-reach, reach, 400)
    axes.plot(
      where, density(ratio, where), color="tab:blue", label="smoothed density"
    )
    lower = float(np.mean(ratio > 0))
    for side, share, words in (
      (0.98, lower, "lower voice in channel 1"),
      (0.02, 1 - lower, "lower voice in channel 2"),
    ):
      axes.text(
        side,
        0.96,
        f"{share:.0%}\n{words}",
        transform=axes.transAxes,
        ha="right" if side > 0.5 else "left",
        va="top",
        fontsize="small",
      )
  axes.axvline(0.0, color="0.3", linestyle="--", linewidth=1)
  axes.set(
    xlim=(-reach, reach),
    xlabel=r"$\log_2(f_0^{(2)} / f_0^{(1)})$ (octaves)",
    ylabel="density over mixtures",
    title=f"Pitch of channel 2 over channel 1{': ' if model else ''}{model}",
  )
  # Room for the words above the highest bar.
  axes.set_ylim(0.0, 1.35 * axes.get_ylim()[1])
  if len(ratio):
    figure.legend(loc="outside lower center", ncols=2, fontsize="small")
  return figure


def density(values: np.ndarray, where: np.ndarray) -> np.ndarray:
  """Gaussian kernel density, of Silverman's width.

  Args:
    values: Observations.
    where: Places to evaluate it at.

  Returns:
    The density there; its integral over all numbers is 1.
  """
  width = values.std(ddof=1) if len(values) > 1 else 0.0
  width = max(width * (0.75 * len(values)) ** -0.2, _NARROWEST)
  distance = (where[:, None] - values) / width
  kernel = np.exp(-0.5 * distance**2) / np.sqrt(2 * np.pi)
  return kernel.mean(axis=1) / width
