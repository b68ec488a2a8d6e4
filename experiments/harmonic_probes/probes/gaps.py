"""Figures 6 and 8: one of two alternating tones is muted for a moment."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from experiments.harmonic_probes.probes.tones import (
  F0_HZ,
  MOST_LEAKAGE,
  PERIOD_S,
  check_two_channels,
  draw_channels,
  titled,
)
from experiments.harmonic_probes.study import Result, Row, figure, option
from experiments.rows import mean_and_error
from jaxsep import simulate

#: The gap of the paper's figure 6, one burst long at the usual period.
GAP_S = 0.031
#: Which tone each gap of a stimulus mutes: 0 the low one, 1 the high one.
MUTED = (0, 1, 0, 1)
TONES = ("low", "high")
DURATION_S = 4.0
#: Before the first gap, so that the network has settled, and after the last.
MARGIN_S = 1.0
#: How long after a gap its errors are looked for.
AFTER_S = 0.15
# Between the time after a gap and the next gap.
_REST_S = 0.1
#: Around a gap, bursts that are left out of the steady state.
_APART_S = (0.1, 0.3)
#: Short enough to see a gap.
_WINDOW_S = 0.02
_TONE_COLOURS = ("red", "limegreen")

option("periods_s", (0.03, 0.062, 0.125), "Periods of the tones with gaps.")
option("gaps_s", (0.01, 0.02, 0.031, 0.1), "Durations of the gaps.")


@figure(6, "gaps in tones (--causal_model)", of="causal_model", num_sources=2)
def gaps_of_causal_model(study):
  """Figure 6, for the causal model."""
  return _figure(study, study.causal_model)


@figure(
  8,
  "the gaps of 6 for --spectrogram_model",
  of="spectrogram_model",
  num_sources=2,
)
def gaps_of_spectrogram_model(study):
  """Figure 8, for the spectrogram model."""
  return _figure(study, study.spectrogram_model)


def _figure(study, separate):
  """Figures 6 and 8."""
  amplitude = study["amplitude"]
  rows = probe_gaps(
    separate,
    periods_s=study["periods_s"],
    gaps_s=study["gaps_s"],
    num_seeds=study["num_seeds"],
    amplitude=amplitude,
  )
  rate = separate.sample_rate_hz
  made = make_stimuli(rate, 1, amplitude=amplitude)
  estimate = separate(made["mixture"])[0]
  place = {
    "starts": made["starts"][0],
    "gap": round(GAP_S * rate),
    "burst": made["burst"],
  }
  found = burst_errors(estimate, **place, sample_rate_hz=rate)
  example = {"mixture": made["mixture"][0], "estimate": estimate}
  picture = draw_gaps(
    {**example, **place, **found}, sample_rate_hz=rate, model=separate.name
  )
  caption = (
    f"Gaps in alternating tones, {amplitude} amplitudes: {separate.name}."
  )
  return Result(picture, summarize_gaps(rows), rows, caption)


def probe_gaps(
  separate: Any,
  *,
  periods_s: Iterable[float],
  gaps_s: Iterable[float],
  num_seeds: int = 10,
  **options: Any,
) -> list[Row]:
  """Separates tones with gaps and counts wrong assignments after them.

  A seed draws the phases of the partials and the places of the gaps.

  Args:
    separate: A `Separator` with two channels.
    periods_s: Periods of the tones.
    gaps_s: Durations of the gaps.
    num_seeds: Stimuli of every kind.
    **options: Further options of `simulate.alternating_tones`.

  Returns:
    For every stimulus a row for the gaps that mute the low tone and one for
    those that mute the high tone, see `score_gaps`.
  """
  rows: list[Row] = []
  gaps_s, rate = tuple(gaps_s), separate.sample_rate_hz
  for period_s in periods_s:
    # All durations at once, so that few batches are not full.
    made = [
      make_stimuli(rate, num_seeds, period_s, gap_s, **options)
      for gap_s in (0.0, *gaps_s)
    ]
    mixtures = np.concatenate([stimuli["mixture"] for stimuli in made])
    without, *estimates = np.split(separate(mixtures), len(made))
    for gap_s, stimuli, estimate in zip(
      gaps_s, made[1:], estimates, strict=True
    ):
      for seed in range(num_seeds):
        scores = score_gaps(
          estimate[seed],
          without[seed],
          starts=stimuli["starts"][seed],
          gap=round(gap_s * rate),
          burst=stimuli["burst"],
          sample_rate_hz=rate,
        )
        place = {
          "period_ms": round(1000 * period_s, 3),
          "gap_ms": round(1000 * gap_s, 3),
          "seed": seed,
        }
        rows += [{**place, **score} for score in scores]
  return rows


def make_stimuli(
  sample_rate_hz: int,
  num_seeds: int,
  period_s: float = PERIOD_S,
  gap_s: float = GAP_S,
  **options: Any,
) -> dict[str, Any]:
  """Alternating tones with gaps.

  Args:
    sample_rate_hz: Sample rate.
    num_seeds: How many.
    period_s: Period of the tones.
    gap_s: Duration of the gaps; 0 makes none.
    **options: Further options of `simulate.alternating_tones`.

  Returns:
    "mixture" `[N, T]` and "reference" `[N, 2, T]`, both muted in the gaps;
    "starts" `[N, G]`, the first samples of the gaps, which mute the tones
    `MUTED`; and "burst", the samples of a burst, one number.
  """
  period_s = round(period_s * sample_rate_hz / 2) * 2 / sample_rate_hz
  make = _maker(sample_rate_hz, tuple(sorted(options.items())))
  made = make(np.arange(num_seeds), np.float32(period_s), np.float32(gap_s))
  burst = simulate.burst_length(period_s, sample_rate_hz=sample_rate_hz)
  return {**jax.device_get(made), "burst": int(burst)}


@functools.cache
def _maker(sample_rate_hz, options):
  """A compiled function of seeds, period and duration of the gaps."""
  num_samples = round(DURATION_S * sample_rate_hz)

  def one(seed, period_s, gap_s):
    phase_key, gap_key = jax.random.split(jax.random.key(seed))
    tones = simulate.alternating_tones(
      phase_key,
      num_samples=num_samples,
      sample_rate_hz=sample_rate_hz,
      period_s=period_s,
      **{"f0_hz": F0_HZ, **dict(options)},
    )
    starts = simulate.gap_starts(
      gap_key,
      tones=MUTED,
      num_samples=num_samples,
      sample_rate_hz=sample_rate_hz,
      gap_s=gap_s,
      period_s=period_s,
      margin_s=MARGIN_S,
      spacing_s=AFTER_S + _REST_S,
    )
    length = jnp.round(gap_s * sample_rate_hz).astype(jnp.int32)
    muted = {
      name: simulate.mute(signal, starts, length)
      for name, signal in tones.items()
    }
    return {**muted, "starts": starts}

  return jax.jit(jax.vmap(one, in_axes=(0, None, None)))


def score_gaps(
  estimate: np.ndarray,
  without: np.ndarray,
  *,
  starts: np.ndarray,
  gap: int,
  burst: int,
  sample_rate_hz: int,
) -> list[Row]:
  """Counts the bursts after gaps that come out of the wrong channel.

  The right channel of a tone is the one with most of its energy far from any
  gap: the tone's steady state. What comes out without gaps is judged by its own
  right channels, at the same times. A burst is wrong if the other channel is
  the louder one during it. Looked at are those bursts, both of the low and the
  high tone, whose middle comes within `AFTER_S` after the end of a gap; half
  of them or more must sound.

  Channels are compared at the levels that they come at: if a model gives each
  its own gain, the louder one has more errors of the other's tone.

  Args:
    estimate: Channels of a stimulus, `[2, T]`.
    without: Channels of the same stimulus without the gaps, `[2, T]`.
    starts: First samples of the gaps, which mute the tones `MUTED`.
    gap: Samples of each.
    burst: Samples of a burst.
    sample_rate_hz: Sample rate.

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
) -> dict[str, np.ndarray]:
  """Which bursts come out of which channel, and which follow a gap.

  Args:
    estimate: Channels of a stimulus, `[2, T]`.
    starts: First samples of the gaps, which mute the tones `MUTED`.
    gap: Samples of each.
    burst: Samples of a burst.
    sample_rate_hz: Sample rate.

  Returns:
    Of every whole burst: `tone`, 0 or 1; `wrong`, whether the channel that is
    not the tone's is louder; and `after`, which tone the gap before it
    muted, or -1 where there was none; `steady`, whether it is far from any
    gap. And `channel`, the steady channel of each tone, `[2]`.

  Raises:
    ValueError: If there are not two channels.
  """
  check_two_channels(estimate)
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
  steady = (onset >= MARGIN_S * sample_rate_hz) & ~near
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
    `errors_all_low` and `errors_all_high`; the same of these without the
    gap, with the ending `_without_gap`; and how many more errors a seed has
    with the gaps than without, `more_by_seed`, with the standard error of
    this mean over the seeds, `more_by_seed_error`.
  """
  rows = list(rows)
  groups: dict[tuple, list[Row]] = {}
  for names in ((), ("period_ms",), ("period_ms", "gap_ms")):
    for row in rows:
      place = [
        row[name] if name in names else "all"
        for name in ("period_ms", "gap_ms")
      ]
      groups.setdefault((*place, row["muted"]), []).append(row)
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

  more: dict[int, int] = {}
  for row in group:
    added = row["errors"] - row["errors_without_gap"]
    more[row["seed"]] = more.get(row["seed"], 0) + added
  by_seed = np.array(list(more.values()), float)
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
      for tone in ("", "_low", "_high")
    },
    "more_by_seed": float(by_seed.mean()),
    "more_by_seed_error": mean_and_error(by_seed)[1],
  }


def draw_gaps(
  example: Mapping[str, Any],
  *,
  sample_rate_hz: int,
  model: str = "",
) -> Figure:
  """Draws gaps, and the bursts after them in the wrong channel.

  Arrows where a gap mutes the low tone (red) or the high one (green), yellow
  boxes around wrong bursts within `AFTER_S` after it. The example has
  "mixture", "estimate", what `burst_errors` took ("starts", "gap", "burst")
  and what it found.
  """
  starts = np.asarray(example["starts"]) / sample_rate_hz
  length_s = len(example["mixture"]) / sample_rate_hz
  seconds = (
    max(0.0, float(starts.min()) - 0.2),
    min(length_s, float(starts.max()) + 0.4),
  )
  drawn = Figure(figsize=(11, 6.4), layout="constrained")
  axes = drawn.subplots(3, 1, sharex=True, sharey=True)
  image = draw_channels(axes, example, sample_rate_hz, seconds, _WINDOW_S)
  top_khz = axes[0].get_ylim()[1]
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
  box: dict[str, Any] = {"edgecolor": "yellow", "linewidth": 1.5}
  for number in np.flatnonzero(wrong):
    for place in axes[1:]:
      corner = (number * burst_s, 0.02)
      place.add_patch(
        Rectangle(corner, burst_s, top_khz - 0.06, fill=False, **box)
      )
  axes[-1].set_xlabel("time (s)")
  axes[0].set_xlim(*seconds)
  drawn.colorbar(image, ax=axes, label="level (dB)", aspect=50, pad=0.01)
  arrows = [
    Line2D([], [], color=colour, marker="v", linestyle="", label=label)
    for colour, label in zip(
      _TONE_COLOURS,
      ("gap mutes the low tone", "gap mutes the high tone"),
      strict=True,
    )
  ]
  boxes = Patch(facecolor="0.2", label="burst in the wrong channel", **box)
  drawn.legend(
    handles=[*arrows, boxes],
    loc="outside lower center",
    ncols=3,
    fontsize="small",
  )
  gap_ms = 1000 * example["gap"] / sample_rate_hz
  title = f"Gaps of {gap_ms:.0f} ms, tones of {2000 * burst_s:.0f} ms period"
  drawn.suptitle(titled(title, model))
  return drawn
