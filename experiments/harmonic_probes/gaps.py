"""Mutes one of two alternating tones for a moment and sees what follows."""

import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harmonic_probes.gap_scores import (
  AFTER_S,
  MARGIN_S,
  MUTED,
  Row,
  burst_errors,
  score_gaps,
)
from experiments.harmonic_probes.tones import F0_HZ, PERIOD_S
from jaxsep import simulate

PERIODS_S = (0.03, 0.062, 0.125)
GAPS_S = (0.01, 0.02, 0.031, 0.1)
#: The gap of the paper's figure 6, one burst long at the usual period.
GAP_S = 0.031
NUM_SEEDS = 10
DURATION_S = 4.0
# Between the time after a gap and the next gap.
_REST_S = 0.1


def probe_gaps(
  separate: Any,
  *,
  periods_s: Iterable[float] = PERIODS_S,
  gaps_s: Iterable[float] = GAPS_S,
  num_seeds: int = NUM_SEEDS,
  duration_s: float = DURATION_S,
  margin_s: float = MARGIN_S,
  **options: Any,
) -> list[Row]:
  """Separates tones with gaps and counts wrong assignments after them.

  A seed draws the phases of the partials and the places of the gaps.

  Args:
    separate: A `separator.Separator`, or anything like it with two channels.
    periods_s: Periods of the tones.
    gaps_s: Durations of the gaps.
    num_seeds: Stimuli of every kind.
    duration_s: Duration of each; it holds four gaps.
    margin_s: Time without a gap at both ends.
    **options: Further options of `simulate.alternating_tones`.

  Returns:
    For every stimulus a row for the gaps that mute the low tone and one for
    those that mute the high tone, see `gap_scores.score_gaps`.
  """
  rows: list[Row] = []
  gaps_s = tuple(gaps_s)
  for period_s in periods_s:
    options_here = dict(options, duration_s=duration_s, margin_s=margin_s)
    # All durations at once, so that few batches are not full.
    made = [
      make_stimuli(
        separate.sample_rate_hz, num_seeds, period_s, gap_s, **options_here
      )
      for gap_s in (0.0, *gaps_s)
    ]
    mixtures = np.concatenate([stimuli["mixture"] for stimuli in made])
    estimates = np.split(separate(mixtures), len(made))
    for gap_s, stimuli, estimate in zip(
      gaps_s, made[1:], estimates[1:], strict=True
    ):
      for seed in range(num_seeds):
        scores = score_gaps(
          estimate[seed],
          estimates[0][seed],
          starts=stimuli["starts"][seed],
          gap=round(gap_s * separate.sample_rate_hz),
          burst=stimuli["burst"],
          sample_rate_hz=separate.sample_rate_hz,
          margin_s=margin_s,
        )
        rows += [
          {
            "period_ms": round(1000 * period_s, 3),
            "gap_ms": round(1000 * gap_s, 3),
            "seed": seed,
            **score,
          }
          for score in scores
        ]
  return rows


def make_stimuli(
  sample_rate_hz: int,
  num_seeds: int,
  period_s: float = PERIOD_S,
  gap_s: float = GAP_S,
  *,
  duration_s: float = DURATION_S,
  margin_s: float = MARGIN_S,
  **options: Any,
) -> dict[str, Any]:
  """Alternating tones with gaps.

  Args:
    sample_rate_hz: Sample rate.
    num_seeds: How many.
    period_s: Period of the tones.
    gap_s: Duration of the gaps; 0 makes none.
    duration_s: Duration of each stimulus.
    margin_s: Time without a gap at both ends.
    **options: Further options of `simulate.alternating_tones`.

  Returns:
    "mixture" `[N, T]` and "reference" `[N, 2, T]`, both muted in the gaps;
    "starts" `[N, G]`, the first samples of the gaps, which mute the tones
    `MUTED`; and "burst", the samples of a burst, one number.
  """
  period_s = round(period_s * sample_rate_hz / 2) * 2 / sample_rate_hz
  make = _maker(
    sample_rate_hz,
    round(duration_s * sample_rate_hz),
    margin_s,
    tuple(sorted(options.items())),
  )
  made = make(np.arange(num_seeds), np.float32(period_s), np.float32(gap_s))
  burst = simulate.burst_length(period_s, sample_rate_hz=sample_rate_hz)
  made = {name: np.asarray(value) for name, value in made.items()}
  return {**made, "burst": int(burst)}


@functools.cache
def _maker(sample_rate_hz, num_samples, margin_s, options):
  """A compiled function of seeds, period and duration of the gaps."""

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
      margin_s=margin_s,
      spacing_s=AFTER_S + _REST_S,
    )
    length = jnp.round(gap_s * sample_rate_hz).astype(jnp.int32)
    muted = {
      name: simulate.mute(signal, starts, length)
      for name, signal in tones.items()
    }
    return {**muted, "starts": starts}

  return jax.jit(jax.vmap(one, in_axes=(0, None, None)))


def make_example(separate: Any, **options: Any) -> dict[str, Any]:
  """A separated stimulus to look at: the first seed.

  Args:
    separate: As for `probe_gaps`.
    **options: As for `make_stimuli`.

  Returns:
    "mixture" `[T]`, "estimate" `[2, T]`, "starts", "gap" and "burst" in
    samples, and what `burst_errors` found.
  """
  rate = separate.sample_rate_hz
  made = make_stimuli(rate, 1, **options)
  gap = round(options.get("gap_s", GAP_S) * rate)
  place = {"starts": made["starts"][0], "gap": gap, "burst": made["burst"]}
  estimate = separate(made["mixture"])[0]
  found = burst_errors(
    estimate,
    **place,
    sample_rate_hz=rate,
    margin_s=options.get("margin_s", MARGIN_S),
  )
  return {"mixture": made["mixture"][0], "estimate": estimate, **place, **found}
