"""Which of two voices comes out of which channel: the order of their pitch."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from experiments.harmonic_probes.pitch import average_f0

Row = dict[str, Any]

#: What the paper reports: mixtures with the lower voice in channel 1.
PAPER_SHARE = 0.86


def probe_f0_order(
  estimate: np.ndarray,
  names: Sequence[str],
  *,
  sample_rate_hz: int,
  tracker: str = "pyin",
  num_processes: int | None = None,
) -> list[Row]:
  """Average pitch of both channels of separated mixtures.

  Args:
    estimate: Channels as the model gives them, `[N, 2, T]`.
    names: Name of each mixture.
    sample_rate_hz: Sample rate.
    tracker: See `pitch.average_f0`, also for how the average is taken.
    num_processes: See there.

  Returns:
    A row for every mixture: `f0_1_hz`, `f0_2_hz`, their `log2_ratio`, that of
    channel 2 over channel 1, positive if the lower voice is in channel 1; the
    same of the medians over time, `median_f0_1_hz` ...; and the voiced
    seconds. NaN where a channel has no voiced frame.

  Raises:
    ValueError: If there are not two channels, or the tracker is missing.
  """
  if estimate.ndim != 3 or estimate.shape[1] != 2:
    raise ValueError(f"estimate {estimate.shape} must be [mixtures, 2, time]")
  count, _, time = estimate.shape
  found = average_f0(
    estimate.reshape(2 * count, time),
    sample_rate_hz=sample_rate_hz,
    tracker=tracker,
    num_processes=num_processes,
  ).reshape(count, 2, 3)
  mean, median, voiced = np.moveaxis(found, -1, 0)
  ratio = np.log2(mean[:, 1] / mean[:, 0])
  median_ratio = np.log2(median[:, 1] / median[:, 0])
  return [
    {
      "mixture": names[i],
      "f0_1_hz": float(mean[i, 0]),
      "f0_2_hz": float(mean[i, 1]),
      "log2_ratio": float(ratio[i]),
      "median_f0_1_hz": float(median[i, 0]),
      "median_f0_2_hz": float(median[i, 1]),
      "median_log2_ratio": float(median_ratio[i]),
      "voiced_1_s": float(voiced[i, 0]),
      "voiced_2_s": float(voiced[i, 1]),
    }
    for i in range(count)
  ]


def summarize_f0_order(rows: Iterable[Row]) -> list[Row]:
  """Shares of the mixtures with the lower voice in channel 1.

  Which channel a network gives to lower voices is chance, decided while it
  is trained; how faithfully it does so is not. So the larger of the two shares
  is reported as well.

  Args:
    rows: As `probe_f0_order` returns them.

  Returns:
    Two rows, by the mean and by the median pitch over time: how many
    `mixtures` have both channels voiced, the `share_lower_in_channel_1` and
    its standard error, the `share_one_order`, which is at least a half, and
    the paper's share.
  """
  rows = list(rows)
  table = []
  for average, key in (("mean", "log2_ratio"), ("median", "median_log2_ratio")):
    ratio = np.array([row[key] for row in rows])
    ratio = ratio[np.isfinite(ratio)]
    share = float(np.mean(ratio > 0)) if len(ratio) else np.nan
    table.append(
      {
        "average": average,
        "mixtures": len(ratio),
        "not_voiced": len(rows) - len(ratio),
        "share_lower_in_channel_1": share,
        "standard_error": float(
          np.sqrt(share * (1 - share) / max(len(ratio), 1))
        ),
        "share_one_order": max(share, 1 - share),
        "paper_share": PAPER_SHARE,
      }
    )
  return table
