"""Counts wrong assignments after gaps in alternating tones."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from experiments.harmonic_probes.tones import MOST_LEAKAGE

Row = dict[str, Any]

#: Which tone each gap of a stimulus mutes: 0 the low one, 1 the high one.
MUTED = (0, 1, 0, 1)
TONES = ("low", "high")
#: Before the first gap, so that the network has settled, and after the last.
MARGIN_S = 1.0
#: How long after a gap its errors are looked for.
AFTER_S = 0.15
#: Around a gap, bursts that are left out of the steady state.
_APART_S = (0.1, 0.3)


def score_gaps(
  estimate: np.ndarray,
  without: np.ndarray,
  *,
  starts: np.ndarray,
  gap: int,
  burst: int,
  sample_rate_hz: int,
  margin_s: float = MARGIN_S,
) -> list[Row]:
  """Counts the bursts after gaps that come out of the wrong channel.

  The right channel of a tone is the one with most of its energy far from any
  gap: the tone's steady state. What comes out without gaps is judged by its own
  right channels, at the same times. A burst is wrong if the other channel is
  the louder one during it. Looked at are those bursts, both of the low and the
  high tone, whose middle comes within `AFTER_S` after the end of a gap; half
  of them or more must sound.

  Channels are compared at the levels that they come at. A model that was
  trained on a scale-invariant loss may have given each its own gain, and the
  louder of them then has more errors of the other's tone to its name.

  Args:
    estimate: Channels of a stimulus, `[2, T]`.
    without: Channels of the same stimulus without the gaps, `[2, T]`.
    starts: First samples of the gaps, which mute the tones `MUTED`.
    gap: Samples of each.
    burst: Samples of a burst.
    sample_rate_hz: Sample rate.
    margin_s: Time to settle at the start, left out of the steady state.

  Returns:
    A row for each muted tone: `muted`, "low" or "high"; `bursts` after such
    gaps and `errors` among them, the same of the low and of the high tone;
    `errors_without_gap`, `errors_low_without_gap` and
    `errors_high_without_gap`, among the same bursts without gaps;
    `leakage` and `leakage_without_gap`, the share of the energy of these
    bursts in the wrong channel; `low_channel` and `high_channel`, 1 or 2;
    `apart`, whether these differ; `segregated`, whether in the steady state
    less than `MOST_LEAKAGE` of either tone is in the other's channel; and
    `energy_channel_1`, the share of the energy after gaps in channel 1. All but
    the values without gaps are of the stimulus with gaps.
  """
  place: dict[str, Any] = {
    "starts": starts,
    "gap": gap,
    "burst": burst,
    "sample_rate_hz": sample_rate_hz,
    "margin_s": margin_s,
  }
  found = burst_errors(estimate, **place)
  found_without = burst_errors(without, **place)
  tone, channel = found["tone"], found["channel"]
  energy, energy_without = _energies(estimate, burst), _energies(without, burst)
  errors = {"": found["wrong"], "_without_gap": found_without["wrong"]}
  apart = bool(channel[0] != channel[1])
  steady = [
    _leakage(energy, channel, tone, found["steady"] & (tone == t))
    for t in range(2)
  ]
  rows = []
  for muted, name in enumerate(TONES):
    after = found["after"] == muted
    row: Row = {"muted": name}
    kinds = {"": after}
    kinds |= {f"_{word}": after & (tone == t) for t, word in enumerate(TONES)}
    for kind, bursts in kinds.items():
      row[f"bursts{kind}"] = int(bursts.sum())
      for ending, wrong in errors.items():
        row[f"errors{kind}{ending}"] = int((bursts & wrong).sum())
    row["leakage"] = _leakage(energy, channel, tone, after)
    row["leakage_without_gap"] = _leakage(
      energy_without, found_without["channel"], tone, after
    )
    row["low_channel"], row["high_channel"] = (int(c) + 1 for c in channel)
    row["apart"] = apart
    row["segregated"] = apart and max(steady) < MOST_LEAKAGE
    total = energy[:, after].sum()
    row["energy_channel_1"] = float(energy[0, after].sum() / max(total, 1e-30))
    rows.append(row)
  return rows


def burst_errors(
  estimate: np.ndarray,
  *,
  starts: np.ndarray,
  gap: int,
  burst: int,
  sample_rate_hz: int,
  margin_s: float = MARGIN_S,
) -> dict[str, np.ndarray]:
  """Which bursts come out of which channel, and which follow a gap.

  Args:
    estimate: Channels of a stimulus, `[2, T]`.
    starts: First samples of the gaps, which mute the tones `MUTED`.
    gap: Samples of each.
    burst: Samples of a burst.
    sample_rate_hz: Sample rate.
    margin_s: Time to settle at the start.

  Returns:
    Of every whole burst: `tone`, 0 or 1; `wrong`, whether the channel that is
    not the tone's is louder; and `after`, which tone the gap before it
    muted, or -1 where there was none; `steady`, whether it is far from any
    gap. And `channel`, the steady channel of each tone, `[2]`.
  """
  energy = _energies(estimate, burst)
  number = np.arange(energy.shape[1])
  onset, middle, tone = burst * number, burst * (number + 0.5), number % 2
  ends = np.asarray(starts) + gap
  muted = np.zeros(len(number))
  after = np.full(len(number), -1)
  near = np.zeros(len(number), bool)
  before_s, after_s = _APART_S
  for start, end, which in zip(starts, ends, MUTED, strict=True):
    muted += np.clip(
      np.minimum(onset + burst, end) - np.maximum(onset, start), 0, None
    )
    follows = (middle > end) & (middle <= end + AFTER_S * sample_rate_hz)
    after[follows] = which
    near |= (onset + burst > start - before_s * sample_rate_hz) & (
      onset < end + after_s * sample_rate_hz
    )
  after[muted > burst / 2] = -1
  settled = onset >= min(margin_s * sample_rate_hz, number[-1] * burst / 2)
  steady = settled & ~near
  channel = np.array(
    [energy[:, steady & (tone == t)].sum(axis=1).argmax() for t in (0, 1)]
  )
  wrong = energy.argmax(axis=0) != channel[tone]
  return {
    "tone": tone,
    "wrong": wrong,
    "after": after,
    "steady": steady,
    "channel": channel,
  }


def summarize_gaps(rows: Iterable[Row]) -> list[Row]:
  """Error rates and leakages over the seeds.

  Args:
    rows: As `probe_gaps` returns them.

  Returns:
    A row for each muted tone, over all periods and gaps; then one for every
    period and muted tone, over all gaps; then one for every period, gap and
    muted tone. How many `stimuli` there were and how many of them were
    `segregated` at all. Over those, the `bursts` looked at and the share of
    wrong ones: among all (`error_rate`), those of each tone
    (`error_rate_low`, `error_rate_high`) and, without the gap, among all
    (`error_rate_without_gap`). Over those that were merely `apart`, the mean
    of `leakage` and of `leakage_without_gap`. NaN where there is none. And
    over all stimuli, segregated or not, counts: `bursts_all`, of them
    `bursts_all_low` and `bursts_all_high`; the wrong ones, `errors_all`,
    `errors_all_low` and `errors_all_high`; and the same of these without the
    gap, with the ending `_without_gap`.
  """
  groups: dict[tuple, list[Row]] = {}
  rows = list(rows)
  for row in rows:
    groups.setdefault(("all", "all", row["muted"]), []).append(row)
  for row in rows:
    kind = (row["period_ms"], "all", row["muted"])
    groups.setdefault(kind, []).append(row)
  for row in rows:
    kind = (row["period_ms"], row["gap_ms"], row["muted"])
    groups.setdefault(kind, []).append(row)
  return [
    {
      "period_ms": period_ms,
      "gap_ms": gap_ms,
      "muted": muted,
      **_summary(group),
    }
    for (period_ms, gap_ms, muted), group in groups.items()
  ]


def _summary(group):
  """Counts, rates and means of some rows."""
  segregated = [row for row in group if row["segregated"]]
  apart = [row for row in group if row["apart"] and row["bursts"]]

  def share(errors, bursts):
    count = sum(row[bursts] for row in segregated)
    return sum(row[errors] for row in segregated) / count if count else np.nan

  def mean(name):
    return float(np.mean([row[name] for row in apart])) if apart else np.nan

  return {
    "stimuli": len(group),
    "segregated": len(segregated),
    "bursts": sum(row["bursts"] for row in segregated),
    "error_rate": share("errors", "bursts"),
    "error_rate_low": share("errors_low", "bursts_low"),
    "error_rate_high": share("errors_high", "bursts_high"),
    "error_rate_without_gap": share("errors_without_gap", "bursts"),
    "apart": len(apart),
    "leakage": mean("leakage"),
    "leakage_without_gap": mean("leakage_without_gap"),
    **{
      f"{what}_all{tone}{ending}": sum(
        row[f"{what}{tone}{ending}"] for row in group
      )
      for what, ending in (
        ("bursts", ""),
        ("errors", ""),
        ("errors", "_without_gap"),
      )
      for tone in ("", *(f"_{name}" for name in TONES))
    },
  }


def _energies(estimate, burst):
  """Energy of each channel in each whole burst, `[2, N]`."""
  count = estimate.shape[-1] // burst
  parts = estimate[:, : count * burst].reshape(len(estimate), count, burst)
  return np.square(parts.astype(np.float64)).sum(axis=-1)


def _leakage(energy, channel, tone, bursts):
  """Share of the energy of some bursts that is not in their channel."""
  right = energy[channel[tone], np.arange(len(tone))][bursts].sum()
  total = energy[:, bursts].sum()
  return float(1.0 - right / total) if total > 0 else 0.0
