"""Figures 4 and 7: alternating tones that lack some of their harmonics."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments.harmonic_probes.separator import in_best_order
from experiments.harmonic_probes.study import Result, figure, option
from experiments.plots import (
  at_level_of,
  draw_spectrograms,
  finish_spectrograms,
)
from experiments.rows import Row, grouped, mean_and_error
from jaxsep import dsp, metrics, simulate
from jaxsep.typing import Array, Float

#: The sets of the paper's figure 4, from left to right, the last of them once
#: more without its gap, and all harmonics.
HARMONIC_SETS = {
  "4-8": (4, 5, 6, 7, 8),
  "1-3": (1, 2, 3),
  "1-3, 5": (1, 2, 3, 5),
  "1-5": (1, 2, 3, 4, 5),
  "1-10": tuple(range(1, 11)),
}
#: Those that are drawn.
_SHOWN = ("4-8", "1-3", "1-3, 5")
#: Of the partials: all equal, or falling as 1/k.
AMPLITUDES = ("equal", "inverse")
#: Fundamentals of the low and of the high tone, in Hz.
F0_HZ = (117.0, 201.0)
PERIOD_S = 0.062
#: Two tones count as segregated if less of the energy of either than this is
#: in the other's channel.
MOST_LEAKAGE = 0.25
#: No two tones sound at once: long enough to tell the harmonics apart.
_WINDOW_S = 0.032
#: The part of the stimuli that is drawn.
_SECONDS = (0.5, 1.0)

option(
  "amplitude",
  "inverse",
  "Of the partials, in pictures of tones and in figures 6 and 8: all equal, "
  "or falling as 1/k. The numbers of figures 4 and 7 are of both.",
  AMPLITUDES,
)
option("num_seeds", 10, "Stimuli of every kind of tones.")


@figure(4, "tones that lack harmonics", num_sources=2)
@figure(
  7,
  "the tones of 4 for --spectrogram_model",
  of="spectrogram_model",
  num_sources=2,
)
def harmonics(study, separate):
  """Figures 4 and 7."""
  # The first amplitude is that of the examples.
  amplitudes = sorted(AMPLITUDES, key=lambda a: a != study["amplitude"])
  rows, examples = probe_tones(
    separate, amplitudes=amplitudes, num_seeds=study["num_seeds"]
  )
  picture = draw_harmonics(
    {name: examples[name] for name in _SHOWN},
    sample_rate_hz=separate.sample_rate_hz,
    model=separate.name,
  )
  caption = f"Alternating tones that lack harmonics: {separate.name}."
  return Result(picture, summarize_tones(rows), rows, caption)


def probe_tones(
  separate: Any,
  *,
  harmonic_sets: Mapping[str, tuple[int, ...]] = HARMONIC_SETS,
  amplitudes: Iterable[str] = AMPLITUDES,
  num_seeds: int = 10,
  duration_s: float = 2.0,
) -> tuple[list[Row], dict[str, dict[str, np.ndarray]]]:
  """Separates tones of every kind, of random phases, and scores them.

  Returns `(rows, examples)`: the scores of every stimulus, and for every set of
  harmonics the first stimulus with the first amplitude: "mixture" `[T]`,
  "reference" and "estimate" `[2, T]`, channels unsorted.
  """
  kinds = list(itertools.product(amplitudes, harmonic_sets.items()))
  made = [
    _stimuli(
      num_seeds,
      num_samples=round(duration_s * separate.sample_rate_hz),
      sample_rate_hz=separate.sample_rate_hz,
      harmonics=numbers,
      amplitude=amplitude,
    )
    for amplitude, (_, numbers) in kinds
  ]
  # All kinds at once, so that few batches are not full.
  mixtures = np.concatenate([stimuli["mixture"] for stimuli in made])
  estimates = np.split(separate(mixtures), len(made))
  rows: list[Row] = []
  examples: dict[str, dict[str, np.ndarray]] = {}
  for (amplitude, (name, _)), stimuli, estimate in zip(
    kinds, made, estimates, strict=True
  ):
    scores = segregation(estimate, stimuli["reference"])
    for seed in range(num_seeds):
      kind = {
        "harmonics": name,
        "amplitude": amplitude,
        "period_ms": round(1000 * PERIOD_S, 3),
        "seed": seed,
      }
      row = {key: value[seed].item() for key, value in scores.items()}
      rows.append(kind | row)
    first = {key: value[0] for key, value in stimuli.items()}
    examples.setdefault(name, {**first, "estimate": estimate[0]})
  return rows, examples


def _stimuli(num_seeds, **options):
  """Mixtures `[N, T]` and references `[N, 2, T]` of alternating tones."""

  def one(seed):
    return simulate.alternating_tones(
      jax.random.key(seed), period_s=PERIOD_S, f0_hz=F0_HZ, **options
    )

  return jax.device_get(jax.jit(jax.vmap(one))(np.arange(num_seeds)))


def segregation(
  estimate: Float[Array, "batch channels time"],
  reference: Float[Array, "batch 2 time"],
) -> dict[str, np.ndarray]:
  """How well two tones that never sound at once were told apart.

  Takes channels, unsorted, and the low and the high tone, `[B, 2, T]`. Leakages
  and energies depend on the levels of the channels; the SI-SDR does not.

  Returns values `[B]` by name. Under the permutation with the best mean SI-SDR:
  `si_sdr...`; `low_channel`, 1 or 2, where the low tone belongs; and
  `leakage...`, the share of the energy in the bursts of a tone that came out of
  the other channel. Two tones in one channel have a leakage of 0 and 1.
  `energy_channel_1` is the share of all energy that came out of channel 1.
  """
  return jax.device_get(
    _segregation(jnp.asarray(estimate), jnp.asarray(reference))
  )


@jax.jit
def _segregation(estimate, reference):
  """See `segregation`."""
  ordered, permutation = in_best_order(estimate, reference)
  chosen = metrics.si_sdr(ordered, reference)
  # Energy [B, channel, tone] in the bursts of each tone.
  bursts = (reference != 0).astype(jnp.float32)
  energy = jnp.einsum("bct,bst->bcs", jnp.square(estimate), bursts)
  tiny = jnp.finfo(jnp.float32).tiny
  total = jnp.maximum(jnp.sum(energy, axis=1), tiny)
  right = jnp.einsum("bss->bs", dsp.reorder(energy, permutation))
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
    / jnp.maximum(jnp.sum(channels, axis=1), tiny),
  }


def summarize_tones(rows: Iterable[Row]) -> list[Row]:
  """Means over the seeds, a row for every kind of stimulus.

  `segregated` is the share of seeds where both leak less than `MOST_LEAKAGE`.
  """
  table = []
  kind = ("harmonics", "amplitude", "period_ms")
  names = ("si_sdr_db", "leakage_low", "leakage_high", "energy_channel_1")
  for place, group in grouped(rows, kind).items():
    columns = {key: np.array([row[key] for row in group]) for key in names}
    leakage = np.maximum(columns["leakage_low"], columns["leakage_high"])
    means = {key: float(values.mean()) for key, values in columns.items()}
    table.append(
      {
        **dict(zip(kind, place, strict=True)),
        "seeds": len(group),
        "si_sdr_db": means["si_sdr_db"],
        "si_sdr_error_db": mean_and_error(columns["si_sdr_db"])[1],
        "leakage_low": means["leakage_low"],
        "leakage_high": means["leakage_high"],
        "segregated": float(np.mean(leakage < MOST_LEAKAGE)),
        "energy_channel_1": means["energy_channel_1"],
      }
    )
  return table


def draw_harmonics(
  examples: Mapping[str, Mapping[str, np.ndarray]],
  *,
  sample_rate_hz: int,
  model: str,
) -> Figure:
  """Draws mixture and channels of examples, a column for each set."""
  count = len(examples)
  drawn = Figure(figsize=(2.6 * count + 1.4, 6.0), layout="constrained")
  axes = drawn.subplots(3, count, sharex=True, sharey=True, squeeze=False)
  image: Any = None
  for column, (name, example) in zip(axes.T, examples.items(), strict=True):
    column[0].set_title(f"harmonics {name}")
    image = draw_channels(column, example, sample_rate_hz, _SECONDS, _WINDOW_S)
  for place in axes[:, 1:].flat:
    place.set_ylabel("")
  title = f"Alternating tones, 117 and 201 Hz: {model}"
  finish_spectrograms(drawn, axes, image, title)
  return drawn


def draw_channels(
  axes: Any,
  example: Mapping[str, Any],
  sample_rate_hz: int,
  seconds: tuple[float, float],
  window_s: float,
) -> Any:
  """Draws an example between two times into three axes; returns an image."""
  mixture = example["mixture"]
  first, second = at_level_of(mixture, example["estimate"])
  image = draw_spectrograms(
    axes,
    {"mixture": mixture, "channel 1": first, "channel 2": second},
    sample_rate_hz=sample_rate_hz,
    window_s=window_s,
  )
  for place in axes:
    # The partials of these tones end at 2 kHz.
    place.set(xlim=seconds, ylim=(0, min(2.2, sample_rate_hz / 2000)))
  return image
