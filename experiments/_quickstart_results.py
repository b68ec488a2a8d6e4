"""Scores, table, audio and picture of the quickstart."""

import csv
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from data_pipelines.voices import talker_of
from experiments.plots import plot_separation
from jaxsep import audio, dsp, metrics

#: Talkers whose mean pitch differs by less count as similar.
SIMILAR_SEMITONES = 3.0

COLUMNS = (
  "example",
  "talker_1",
  "talker_2",
  "pitch_1_hz",
  "pitch_2_hz",
  "mixture_si_sdr_db",
  "si_sdr_db",
  "si_sdr_improvement_db",
  "sdr_db",
)

Row = dict[str, Any]


def score(
  examples: Sequence[dict[str, Any]], *, seed: int, num_samples: int
) -> list[Row]:
  """Puts the estimates in the order of their references, and compares.

  Args:
    examples: Each with `mixture` `[T]`, `reference` and `estimate` `[S, T]`,
      `index` and `speaker`; the estimates are reordered in place.
    seed: Seed of the test voices.
    num_samples: Length of the longest mixture, or more.

  Returns:
    One row of the table an example: means over its talkers, in dB.
  """
  # Zeros at the end change no ratio, and one length is one compilation.
  padded = {
    name: np.stack([_fill(example[name], num_samples) for example in examples])
    for name in ("mixture", "estimate", "reference")
  }
  mixture, estimate, reference = padded.values()
  mixture = np.broadcast_to(mixture[:, None], reference.shape)
  estimate, reference = jnp.asarray(estimate), jnp.asarray(reference)
  # Pairwise [E, S, S]: every estimate against every reference.
  pairs = (*reference.shape[:2], *reference.shape[1:])
  permutation = dsp.best_permutation(
    -metrics.si_sdr(
      jnp.broadcast_to(estimate[:, :, None], pairs),
      jnp.broadcast_to(reference[:, None], pairs),
    )
  )
  estimate = dsp.reorder(estimate, permutation)
  before = np.mean(metrics.si_sdr(jnp.asarray(mixture), reference), axis=-1)
  after = np.mean(metrics.si_sdr(estimate, reference), axis=-1)
  sdr = np.mean(metrics.bss_eval(estimate, reference)[0], axis=-1)
  rows = []
  for number, example in enumerate(examples):
    order = np.asarray(permutation[number])
    example["estimate"] = example["estimate"][order]
    talkers = [int(speaker) for speaker in example["speaker"]]
    pitches = [
      talker_of(seed=seed, split="test", speaker=talker).f0_hz
      for talker in talkers
    ]
    before_db, after_db = float(before[number]), float(after[number])
    values = [int(example["index"]), *talkers, *pitches, before_db, after_db]
    values += [after_db - before_db, float(sdr[number])]
    rows.append(dict(zip(COLUMNS, values, strict=True)))
  return rows


def _fill(signal, length):
  """The signal with zeros at its end."""
  widths = [(0, 0)] * (signal.ndim - 1) + [(0, length - signal.shape[-1])]
  return np.pad(signal, widths)


def write_results(
  folder: pathlib.Path,
  rows: Sequence[Row],
  examples: Sequence[Mapping[str, Any]],
  *,
  num_to_keep: int,
  sample_rate_hz: int,
) -> None:
  """Writes the table, the audio of some examples and a picture.

  Args:
    folder: Where to.
    rows: What `score` returned.
    examples: What it was given.
    num_to_keep: Examples to write as audio.
    sample_rate_hz: Sample rate.
  """
  with open(folder / "scores.csv", "w", newline="") as file:
    writer = csv.DictWriter(file, COLUMNS)
    writer.writeheader()
    for row in [*rows, _mean_row(rows)]:
      writer.writerow(
        {k: f"{v:.2f}" if isinstance(v, float) else v for k, v in row.items()}
      )
  for example in examples[:num_to_keep]:
    place = folder / "audio" / f"example_{example['index']}"
    place.mkdir(parents=True, exist_ok=True)
    signals = {"mixture": example["mixture"]}
    for number in (1, 2):
      signals[f"estimate_{number}"] = example["estimate"][number - 1]
      signals[f"reference_{number}"] = example["reference"][number - 1]
    for name, signal in signals.items():
      audio.write(place / f"{name}.wav", signal, sample_rate_hz=sample_rate_hz)
  first = examples[0]
  plot_separation(
    folder / "separation.png",
    first["mixture"],
    first["estimate"],
    first["reference"],
    sample_rate_hz=sample_rate_hz,
    title=(
      f"Example {rows[0]['example']}: two talkers never heard before,"
      f" {rows[0]['si_sdr_improvement_db']:.1f} dB SI-SDR improvement"
    ),
  )


def _mean_row(rows, name="mean"):
  """The means of the ratios, in the shape of a row."""
  values = {
    column: float(np.mean([row[column] for row in rows]))
    for column in COLUMNS
    if column.endswith("_db")
  }
  return {column: values.get(column, "") for column in COLUMNS} | {
    "example": name
  }


def _is_similar(row):
  octaves = np.log2(row["pitch_1_hz"] / row["pitch_2_hz"])
  return abs(12.0 * octaves) < SIMILAR_SEMITONES


def print_table(rows: Sequence[Row]) -> None:
  """Prints the rows and their means, also by likeness of pitch."""
  print(
    f"{'':>24} {'pitch (Hz)':>11} {'mixture':>8} {'SI-SDR':>7}"
    f" {'improved by':>11} {'SDR (dB)':>8}"
  )
  groups = {
    f"similar pitch ({SIMILAR_SEMITONES:g} semitones)": [
      row for row in rows if _is_similar(row)
    ],
    "other pairs": [row for row in rows if not _is_similar(row)],
    f"mean of {len(rows)}": rows,
  }
  means = [_mean_row(group, name) for name, group in groups.items() if group]
  for row in [*rows, *means]:
    pitch = ""
    if row["pitch_1_hz"]:
      pitch = f"{row['pitch_1_hz']:.0f} + {row['pitch_2_hz']:.0f}"
    print(
      f"{row['example']:>27} {pitch:>11} {row['mixture_si_sdr_db']:8.1f}"
      f" {row['si_sdr_db']:7.1f} {row['si_sdr_improvement_db']:11.1f}"
      f" {row['sdr_db']:8.1f}"
    )
