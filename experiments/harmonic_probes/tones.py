"""Separates alternating tones that lack some of their harmonics."""

import functools
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep import dsp, metrics, simulate
from jaxsep.typing import Array, Float, Int

Row = dict[str, Any]

#: The sets of the paper's figure 4, from left to right, the last of them once
#: more without its gap, and all harmonics.
HARMONIC_SETS = {
  "4-8": (4, 5, 6, 7, 8),
  "1-3": (1, 2, 3),
  "1-3, 5": (1, 2, 3, 5),
  "1-5": (1, 2, 3, 4, 5),
  "1-10": tuple(range(1, 11)),
}
AMPLITUDES = ("equal", "inverse")
#: Fundamentals of the low and of the high tone, in Hz.
F0_HZ = (117.0, 201.0)
NUM_SEEDS = 10
DURATION_S = 2.0
PERIOD_S = 0.062
#: Two tones count as segregated if less of the energy of either than this is
#: in the other's channel.
MOST_LEAKAGE = 0.25


def probe_tones(
  separate: Any,
  *,
  harmonic_sets: dict[str, tuple[int, ...]] | None = None,
  amplitudes: Iterable[str] = AMPLITUDES,
  periods_s: Iterable[float] = (PERIOD_S,),
  num_seeds: int = NUM_SEEDS,
  duration_s: float = DURATION_S,
  **options: Any,
) -> tuple[list[Row], dict[str, dict[str, np.ndarray]]]:
  """Separates tones of every kind and scores them.

  A seed draws the phases of the partials.

  Args:
    separate: A `separator.Separator`, or anything like it with two channels.
    harmonic_sets: Harmonics by name; the paper's and all ten if None.
    amplitudes: Of the partials, as `simulate.alternating_tones` calls them.
    periods_s: Periods of the tones.
    num_seeds: Stimuli of every kind.
    duration_s: Duration of each.
    **options: Further options of `simulate.alternating_tones`.

  Returns:
    `(rows, examples)`: a row of scores for every stimulus, see
    `segregation`, and for every set of harmonics the first stimulus, with
    the first amplitude and period: "mixture" `[T]`, "reference" and
    "estimate" `[S, T]`, channels as they came.
  """
  sets = HARMONIC_SETS if harmonic_sets is None else harmonic_sets
  kinds = list(itertools.product(amplitudes, sets.items(), periods_s))
  made = []
  for amplitude, (_, harmonics), period_s in kinds:
    make = _maker(
      separate.sample_rate_hz, harmonics, amplitude, duration_s, **options
    )
    stimuli = make(np.arange(num_seeds), np.float32(period_s))
    made.append({name: np.asarray(value) for name, value in stimuli.items()})
  # All kinds at once, so that few batches are not full.
  mixtures = np.concatenate([stimuli["mixture"] for stimuli in made])
  estimates = np.split(separate(mixtures), len(made))
  rows: list[Row] = []
  examples: dict[str, dict[str, np.ndarray]] = {}
  for (amplitude, (name, _), period_s), stimuli, estimate in zip(
    kinds, made, estimates, strict=True
  ):
    scores = segregation(estimate, stimuli["reference"])
    for seed in range(num_seeds):
      rows.append(
        {
          "harmonics": name,
          "amplitude": amplitude,
          "period_ms": round(1000 * period_s, 3),
          "seed": seed,
          **{key: value[seed].item() for key, value in scores.items()},
        }
      )
    if name not in examples:
      first = {key: value[0] for key, value in stimuli.items()}
      examples[name] = {**first, "estimate": estimate[0]}
  return rows, examples


def segregation(
  estimate: Float[Array, "batch 2 time"],
  reference: Float[Array, "batch 2 time"],
) -> dict[str, np.ndarray]:
  """How well two tones that never sound at once were told apart.

  The SI-SDR does not depend on the level of a channel; leakages and energies
  do, and a model that was trained on a scale-invariant loss may have given each
  channel its own gain.

  Args:
    estimate: Channels as they came, `[B, 2, T]`.
    reference: Trains of the low and the high tone, `[B, 2, T]`.

  Returns:
    Values `[B]` by name. Under the permutation with the best mean SI-SDR:
    `si_sdr_db` and, of each tone, `si_sdr_low_db` and `si_sdr_high_db`;
    `low_channel`, 1 or 2, where the low tone belongs; `leakage_low` and
    `leakage_high`, the share of the energy in the bursts of a tone that came
    out of the other channel, 0 is perfect, and `leakage`, their mean. Two
    tones in one channel have a leakage of 0 and 1. `energy_channel_1` is the
    share of all energy that came out of channel 1.
  """
  values = _segregation(jnp.asarray(estimate), jnp.asarray(reference))
  return {name: np.asarray(value) for name, value in values.items()}


@jax.jit
def _segregation(estimate, reference):
  """See `segregation`."""
  pairs = (*estimate.shape[:2], *estimate.shape[1:])
  si_sdr = metrics.si_sdr(
    jnp.broadcast_to(estimate[:, :, None], pairs),
    jnp.broadcast_to(reference[:, None], pairs),
  )
  permutation = dsp.best_permutation(-si_sdr)
  chosen = jnp.take_along_axis(si_sdr, permutation[:, None], axis=1)[:, 0]
  # Energy [B, channel, tone] in the bursts of each tone.
  bursts = (reference != 0).astype(jnp.float32)
  energy = jnp.einsum("bct,bst->bcs", jnp.square(estimate), bursts)
  total = jnp.maximum(jnp.sum(energy, axis=1), jnp.finfo(jnp.float32).tiny)
  right = jnp.take_along_axis(energy, permutation[:, None], axis=1)[:, 0]
  leakage = 1.0 - right / total
  channels = jnp.sum(energy, axis=2)
  return {
    "si_sdr_db": jnp.mean(chosen, axis=1),
    "si_sdr_low_db": chosen[:, 0],
    "si_sdr_high_db": chosen[:, 1],
    "low_channel": permutation[:, 0] + 1,
    "leakage": jnp.mean(leakage, axis=1),
    "leakage_low": leakage[:, 0],
    "leakage_high": leakage[:, 1],
    "energy_channel_1": channels[:, 0]
    / jnp.maximum(jnp.sum(channels, axis=1), jnp.finfo(jnp.float32).tiny),
  }


def _maker(
  sample_rate_hz: int,
  harmonics: tuple[int, ...],
  amplitude: str,
  duration_s: float,
  **options: Any,
) -> Callable[[Int[Array, "seeds"], Any], dict[str, Array]]:
  """A function of seeds and a period that makes a batch of stimuli."""
  make = functools.partial(
    simulate.alternating_tones,
    num_samples=round(duration_s * sample_rate_hz),
    sample_rate_hz=sample_rate_hz,
    harmonics=harmonics,
    amplitude=amplitude,
    f0_hz=options.pop("f0_hz", F0_HZ),
    **options,
  )

  @jax.jit
  def stimuli(seeds, period_s):
    keys = jax.vmap(jax.random.key)(seeds)
    return jax.vmap(lambda key: make(key, period_s=period_s))(keys)

  return stimuli


def summarize_tones(rows: Iterable[Row]) -> list[Row]:
  """Means over the seeds.

  Args:
    rows: As `probe_tones` returns them.

  Returns:
    A row for every kind of stimulus: mean and standard error of the SI-SDR,
    mean leakages, and `segregated`, the share of seeds with a leakage below
    `MOST_LEAKAGE` for either tone.
  """
  groups: dict[tuple, list[Row]] = {}
  for row in rows:
    kind = (row["harmonics"], row["amplitude"], row["period_ms"])
    groups.setdefault(kind, []).append(row)
  table = []
  for (harmonics, amplitude, period_ms), group in groups.items():
    si_sdr = np.array([row["si_sdr_db"] for row in group])
    leakage = np.array(
      [[row["leakage_low"], row["leakage_high"]] for row in group]
    )
    table.append(
      {
        "harmonics": harmonics,
        "amplitude": amplitude,
        "period_ms": period_ms,
        "seeds": len(group),
        "si_sdr_db": float(si_sdr.mean()),
        "si_sdr_error_db": float(si_sdr.std() / max(len(group) - 1, 1) ** 0.5),
        "leakage_low": float(leakage[:, 0].mean()),
        "leakage_high": float(leakage[:, 1].mean()),
        "segregated": float(np.mean(leakage.max(axis=1) < MOST_LEAKAGE)),
        "energy_channel_1": float(
          np.mean([row["energy_channel_1"] for row in group])
        ),
      }
    )
  return table
