"""Figures 6 and 8: one of two alternating tones is muted for a moment."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from experiments.harmonic_probes.probes.tones import (
  F0_HZ,
  MOST_LEAKAGE,
  PERIOD_S,
  draw_channels,
)
from experiments.harmonic_probes.study import Result, figure, option
from experiments.plots import draw_box, finish_spectrograms
from experiments.rows import Row, grouped, mean_and_error
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
_KIND = ("period_ms", "gap_ms", "muted")

option("periods_s", (0.03, 0.062, 0.125), "Periods of the tones with gaps.")
option("gaps_s", (0.01, 0.02, 0.031, 0.1), "Durations of the gaps.")


@figure(6, "gaps in tones (--causal_model)", of="causal_model", num_sources=2)
@figure(
  8,
  "the gaps of 6 for --spectrogram_model",
  of="spectrogram_model",
  num_sources=2,
)
def gaps(study, separate):
  """Figures 6 and 8."""
  names = ("periods_s", "gaps_s", "num_seeds", "amplitude")
  rows = probe_gaps(separate, **{name: study[name] for name in names})
  amplitude = study["amplitude"]
  made = make_stimuli(separate.sample_rate_hz, 1, amplitude=amplitude)
  example = {"mixture": made["mixture"][0], **_place(made, 0)}
  example["estimate"] = separate(made["mixture"])[0]
  example |= burst_errors(example["estimate"], **_place(made, 0))
  picture = draw_gaps(example, model=separate.name)
  caption = (
    f"Gaps in alternating tones, {amplitude} amplitudes: {separate.name}."
  )
  return Result(picture, summarize_gaps(rows), rows, caption)


def _place(made, seed):
  """Where the gaps and bursts of a stimulus are, see `burst_errors`."""
  names = ("gap", "burst", "sample_rate_hz")
  return {"starts": made["starts"][seed]} | {name: made[name] for name in names}


def probe_gaps(
  separate: Any,
  *,
  periods_s: Iterable[float],
  gaps_s: Iterable[float],
  num_seeds: int = 10,
  amplitude: str = "inverse",
) -> list[Row]:
  """The two rows of `score_gaps` for every stimulus, a seed each."""
  rows: list[Row] = []
  gaps_s, rate = tuple(gaps_s), separate.sample_rate_hz
  for period_s in periods_s:
    # All durations at once, so that few batches are not full.
    made = [
      make_stimuli(rate, num_seeds, period_s, gap_s, amplitude=amplitude)
      for gap_s in (0.0, *gaps_s)
    ]
    mixtures = np.concatenate([stimuli["mixture"] for stimuli in made])
    without, *estimates = np.split(separate(mixtures), len(made))
    for gap_s, stimuli, estimate in zip(
      gaps_s, made[1:], estimates, strict=True
    ):
      for seed in range(num_seeds):
        kind = {
          "period_ms": round(1000 * period_s, 3),
          "gap_ms": round(1000 * gap_s, 3),
          "seed": seed,
        }
        scores = score_gaps(
          estimate[seed], without[seed], **_place(stimuli, seed)
        )
        rows += [kind | score for score in scores]
  return rows


def make_stimuli(
  sample_rate_hz: int,
  num_seeds: int,
  period_s: float = PERIOD_S,
  gap_s: float = GAP_S,
  *,
  amplitude: str = "inverse",
) -> dict[str, Any]:
  """Alternating tones with gaps that mute the tones `MUTED`.

  Returns "mixture" `[N, T]`, "reference" `[N, 2, T]`, and "starts" `[N, G]`,
  first samples of the gaps; "gap" and "burst" in samples; "sample_rate_hz".
  """
  period_s = round(period_s * sample_rate_hz / 2) * 2 / sample_rate_hz
  make = _maker(sample_rate_hz, amplitude)
  made = make(np.arange(num_seeds), np.float32(period_s), np.float32(gap_s))
  burst = simulate.burst_length(period_s, sample_rate_hz=sample_rate_hz)
  return {
    **jax.device_get(made),
    "gap": round(gap_s * sample_rate_hz),
    "burst": int(burst),
    "sample_rate_hz": sample_rate_hz,
  }


@functools.cache
def _maker(sample_rate_hz, amplitude):
  """A compiled function of seeds, period and duration of the gaps."""
  place = {
    "num_samples": round(DURATION_S * sample_rate_hz),
    "sample_rate_hz": sample_rate_hz,
  }

  def one(seed, period_s, gap_s):
    phase_key, gap_key = jax.random.split(jax.random.key(seed))
    tones = simulate.alternating_tones(
      phase_key, period_s=period_s, f0_hz=F0_HZ, amplitude=amplitude, **place
    )
    starts = simulate.gap_starts(
      gap_key,
      tones=MUTED,
      gap_s=gap_s,
      period_s=period_s,
      margin_s=MARGIN_S,
      spacing_s=AFTER_S + _REST_S,
      **place,
    )
    length = jnp.round(gap_s * sample_rate_hz).astype(jnp.int32)
    mute = functools.partial(simulate.mute, starts=starts, length=length)
    return {**jax.tree.map(mute, tones), "starts": starts}

  return jax.jit(jax.vmap(one, in_axes=(0, None, None)))


def score_gaps(
  estimate: np.ndarray, without: np.ndarray, **place: Any
) -> list[Row]:
  """Counts the bursts after gaps that come out of the wrong channel.

  The right channel of a tone is the one with most of its energy far from any
  gap. The channels `without` gaps, of the same stimulus, are judged by their
  own right channels at the same times. A burst is wrong if the other channel
  is louder. Channels are compared at the levels that they come at.

  Returns:
    A row for the gaps that mute each tone: how many `bursts` follow them and
    how many of these are `errors`, with and without the gap, of both tones and
    of each; the `leakage`, the share of the energy of these bursts in the wrong
    channel; the channel of each tone, 1 or 2, and whether these are `apart`;
    `segregated`, whether far from gaps less than `MOST_LEAKAGE` of either tone
    is in the other's channel; and `energy_channel_1`, the share of the energy
    after gaps in channel 1.
  """
  found, found_without = (burst_errors(x, **place) for x in (estimate, without))
  tone, channel, energy = (found[key] for key in ("tone", "channel", "energy"))
  errors = {"": found["wrong"], "_without_gap": found_without["wrong"]}
  apart = bool(channel[0] != channel[1])
  steady = [_leakage(found, found["steady"] & (tone == t)) for t in (0, 1)]
  rows = []
  for muted, name in enumerate(TONES):
    after = found["after"] == muted
    row: Row = {"muted": name}
    for kind, bursts in (
      ("", after),
      ("_low", after & (tone == 0)),
      ("_high", after & (tone == 1)),
    ):
      row[f"bursts{kind}"] = int(bursts.sum())
      for ending, wrong in errors.items():
        row[f"errors{kind}{ending}"] = int((bursts & wrong).sum())
    total = max(energy[:, after].sum(), 1e-30)
    row |= {
      "leakage": _leakage(found, after),
      "leakage_without_gap": _leakage(found_without, after),
      "low_channel": int(channel[0]) + 1,
      "high_channel": int(channel[1]) + 1,
      "apart": apart,
      "segregated": apart and max(steady) < MOST_LEAKAGE,
      "energy_channel_1": float(energy[0, after].sum() / total),
    }
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

  Takes channels `[2, T]`, the first samples of the gaps, and the samples of a
  gap and of a burst.

  Returns:
    Of every whole burst: `tone`, 0 or 1; `wrong`, whether the channel that is
    not the tone's is louder; `after`, which tone was muted by the gap that ends
    at most `AFTER_S` before its middle, or -1 if there is none or more than
    half of the burst is muted; `steady`, whether it is far from any gap; and
    `energy` of each channel, `[2, N]`. And `channel`, the steady channel of
    each tone, `[2]`.
  """
  count = estimate.shape[-1] // burst
  parts = estimate[:, : count * burst].reshape(2, count, burst)
  energy = np.square(parts.astype(np.float64)).sum(axis=-1)
  number = np.arange(count)
  onset, middle, tone = burst * number, burst * (number + 0.5), number % 2
  ends = np.asarray(starts) + gap
  muted = np.zeros(count)
  after = np.full(count, -1)
  near = np.zeros(count, bool)
  before_s, after_s = _APART_S
  for start, end, which in zip(starts, ends, MUTED, strict=True):
    both = np.minimum(onset + burst, end) - np.maximum(onset, start)
    muted += np.maximum(both, 0)
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
  return {
    "energy": energy,
    "tone": tone,
    "wrong": energy.argmax(axis=0) != channel[tone],
    "after": after,
    "steady": steady,
    "channel": channel,
  }


def _leakage(found, bursts):
  """Share of the energy of some bursts that is not in their channel."""
  energy, channel = found["energy"][:, bursts], found["channel"]
  wrong = energy[1 - channel[found["tone"][bursts]], np.arange(energy.shape[1])]
  return float(wrong.sum() / max(energy.sum(), 1e-30))


def summarize_gaps(rows: Sequence[Row]) -> list[Row]:
  """Error rates and leakages: over all, by period, and by period and gap.

  `error_rate...` are shares of the `bursts` of the `segregated` stimuli,
  `leakage...` means over those that are `apart`, NaN where there is none.
  `..._all...` count bursts and errors of all stimuli, segregated or not;
  `more_by_seed` is how many more errors a seed has with the gaps than without,
  `more_by_seed_error` the standard error of this mean over the seeds.
  """
  table = []
  for kind in (("muted",), ("period_ms", "muted"), _KIND):
    for place, group in grouped(rows, kind).items():
      named = dict.fromkeys(_KIND, "all") | dict(zip(kind, place, strict=True))
      table.append(named | _summary(group))
  return table


def _summary(group):
  """Counts, rates and means of some rows."""
  segregated = [row for row in group if row["segregated"]]
  apart = [row for row in group if row["apart"] and row["bursts"]]

  def total(name, rows):
    return sum(row[name] for row in rows)

  def share(errors, bursts):
    count = total(bursts, segregated)
    return total(errors, segregated) / count if count else np.nan

  def mean(name):
    return float(np.mean([row[name] for row in apart])) if apart else np.nan

  by_seed, by_seed_error = mean_and_error(
    [
      total("errors", of_seed) - total("errors_without_gap", of_seed)
      for of_seed in grouped(group, ["seed"]).values()
    ]
  )
  kinds = (("bursts", ""), ("errors", ""), ("errors", "_without_gap"))
  return {
    "stimuli": len(group),
    "segregated": len(segregated),
    "bursts": total("bursts", segregated),
    "error_rate": share("errors", "bursts"),
    "error_rate_low": share("errors_low", "bursts_low"),
    "error_rate_high": share("errors_high", "bursts_high"),
    "error_rate_without_gap": share("errors_without_gap", "bursts"),
    "apart": len(apart),
    "leakage": mean("leakage"),
    "leakage_without_gap": mean("leakage_without_gap"),
    **{
      f"{what}_all{tone}{ending}": total(f"{what}{tone}{ending}", group)
      for what, ending in kinds
      for tone in ("", "_low", "_high")
    },
    "more_by_seed": by_seed,
    "more_by_seed_error": by_seed_error,
  }


def draw_gaps(example: Mapping[str, Any], *, model: str) -> Figure:
  """Draws gaps, and the bursts after them in the wrong channel.

  Arrows where a gap mutes the low tone (red) or the high one (green), yellow
  boxes around wrong bursts. The example has "mixture", "estimate", what
  `burst_errors` took and what it found.
  """
  sample_rate_hz = example["sample_rate_hz"]
  starts = np.asarray(example["starts"]) / sample_rate_hz
  seconds = starts.min() - 0.2, starts.max() + 0.4
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
  for number in np.flatnonzero(wrong):
    edges = (number * burst_s, (number + 1) * burst_s, 0.02, top_khz - 0.04)
    for place in axes[1:]:
      draw_box(place, edges, colour="yellow")
  handles: list[Any] = [
    Line2D([], [], color=c, marker="v", ls="", label=f"gap mutes the {t} tone")
    for c, t in zip(_TONE_COLOURS, TONES, strict=True)
  ]
  label = "burst in the wrong channel"
  handles.append(Patch(facecolor="0.2", edgecolor="yellow", label=label))
  gap_ms = 1000 * example["gap"] / sample_rate_hz
  title = f"Gaps of {gap_ms:.0f} ms, tones of {2000 * burst_s:.0f} ms period"
  finish_spectrograms(drawn, axes, image, f"{title}: {model}", handles)
  return drawn
