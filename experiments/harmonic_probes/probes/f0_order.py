"""Figure 9: which speaker comes out of which channel, by their pitch."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde

from experiments.harmonic_probes import pitch
from experiments.harmonic_probes.study import Result, figure, option
from experiments.rows import Row

#: What the paper reports: mixtures with the lower speaker in channel 1.
PAPER_SHARE = 0.86

option(
  "num_processes", None, "That track pitch; as many as cores if not given."
)


@figure(
  9,
  "order of the channels by pitch",
  of_speech=True,
  num_sources=2,
  check=lambda study: pitch.check_installed(),
)
def f0_order(study, model):
  """Figure 9."""
  rows = probe_f0_order(
    study.native,
    study.mixtures.name,
    sample_rate_hz=study.mixtures.sample_rate_hz,
    num_processes=study["num_processes"],
  )
  picture = draw_f0_order(rows, model=model.name)
  caption = study.caption("Pitch of the channels, pYIN")
  return Result(picture, summarize_f0_order(rows), rows, caption)


def probe_f0_order(
  estimate: np.ndarray,
  names: Sequence[str],
  *,
  sample_rate_hz: int,
  num_processes: int | None = None,
) -> list[Row]:
  """Average pitch of both channels `[N, 2, T]` of separated mixtures.

  Returns a row for every mixture: pitch by its mean and its median over time,
  the ratio of channel 2 over channel 1, positive if the lower speaker is in
  channel 1, and the voiced seconds. NaN where no frame is voiced.
  """
  found = pitch.average_f0(
    estimate.reshape(-1, estimate.shape[-1]),
    sample_rate_hz=sample_rate_hz,
    num_processes=num_processes,
  ).reshape(-1, 2, 3)
  rows = []
  for name, (first, second) in zip(names, found.tolist(), strict=True):
    row: Row = {"mixture": name}
    for i, average in enumerate(("", "median_")):
      row[f"{average}f0_1_hz"] = first[i]
      row[f"{average}f0_2_hz"] = second[i]
      row[f"{average}log2_ratio"] = float(np.log2(second[i] / first[i]))
    rows.append({**row, "voiced_1_s": first[2], "voiced_2_s": second[2]})
  return rows


def summarize_f0_order(rows: Sequence[Row]) -> list[Row]:
  """Shares of the mixtures with the lower speaker in channel 1.

  By mean and by median pitch. Which channel a network gives to lower speakers
  is chance, how consistently it does so is not: `share_one_order` is the larger
  one of the two shares.
  """
  table = []
  for average, key in (("mean", "log2_ratio"), ("median", "median_log2_ratio")):
    ratio = np.array([row[key] for row in rows])
    ratio = ratio[np.isfinite(ratio)]
    share = float(np.mean(ratio > 0)) if len(ratio) else np.nan
    variance = share * (1 - share) / max(len(ratio), 1)
    table.append(
      {
        "average": average,
        "mixtures": len(ratio),
        "not_voiced": len(rows) - len(ratio),
        "share_lower_in_channel_1": share,
        "standard_error": float(np.sqrt(variance)),
        "share_one_order": max(share, 1 - share),
        "paper_share": PAPER_SHARE,
      }
    )
  return table


def draw_f0_order(rows: Sequence[Row], *, model: str) -> Figure:
  """Draws the density over mixtures of the ratio of the channels' pitch.

  And the share of the mixtures on either side of zero.
  """
  drawn = Figure(figsize=(6.4, 4.4), layout="constrained")
  axes = drawn.subplots()
  ratio = np.array([row["log2_ratio"] for row in rows])
  ratio = ratio[np.isfinite(ratio)]
  reach = 1.15 * max(1.0, np.abs(ratio).max(initial=0.0))
  if len(ratio):
    where = np.linspace(-reach, reach, 401)
    bins = where[::10].tolist()
    axes.hist(ratio, bins, density=True, color="0.85", label="histogram")
    if len(ratio) > 1 and ratio.std() > 0:
      smooth = gaussian_kde(ratio, "silverman")(where)
      axes.plot(where, smooth, color="tab:blue", label="smoothed density")
    lower = float(np.mean(ratio > 0))
    for side, share, channel in ((0.98, lower, 1), (0.02, 1 - lower, 2)):
      axes.text(
        side,
        0.96,
        f"{share:.0%}\nlower speaker in channel {channel}",
        transform=axes.transAxes,
        ha="right" if side > 0.5 else "left",
        va="top",
        fontsize="small",
      )
    drawn.legend(loc="outside lower center", ncols=2, fontsize="small")
  axes.axvline(0.0, color="0.3", linestyle="--", linewidth=1)
  axes.set(
    xlim=(-reach, reach),
    xlabel=r"$\log_2(f_0^{(2)} / f_0^{(1)})$ (octaves)",
    ylabel="density over mixtures",
    title=f"Pitch of channel 2 over channel 1: {model}",
  )
  # Room for the text above the highest bar.
  axes.set_ylim(0.0, 1.35 * axes.get_ylim()[1])
  return drawn
