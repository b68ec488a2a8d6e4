"""Separates and scores batches of mixtures; rows and tables of the scores."""

import csv
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from jaxsep import metrics, tasks
from jaxsep.train.evaluation import eval_key

#: Columns of the table, and what they are called there.
TABLE = {
  "si_sdr": "SI-SDR",
  "si_sdr_improvement": "SI-SDRi",
  "si_snr_improvement": "SI-SNRi",
  "sdr": "SDR",
  "sdr_improvement": "SDRi",
  "mixture_si_sdr": "mixture SI-SDR",
  "mixture_sdr": "mixture SDR",
}

# Metrics see signals padded to a multiple of this.
_SCORED_SAMPLES = 2**15


def evaluate(
  task: tasks.SeparationTask, params: Any, batches_: Iterable[dict]
) -> Iterator[dict[str, Any]]:
  """Separates and scores batches.

  Args:
    task: The task with its model.
    params: Parameters of the model.
    batches_: Batches of ingredients or of mixtures.

  Yields:
    A dict for every mixture: its `index`, its length in `samples`, the mean
    over the sources of every value, and `si_sdr_1` ... of each source.
  """

  @jax.jit
  def separate(params, batch):
    return task.separate(params, {}, batch, key=eval_key())

  for batch in batches_:
    values = score(**jax.device_get(separate(params, batch)))
    mask = batch.get("mask", np.ones(len(batch["index"]), bool))
    samples = np.asarray(batch["length"])
    for i in np.flatnonzero(mask):
      row: dict[str, Any] = {
        "index": int(batch["index"][i]),
        "samples": int(samples[i] if samples.ndim == 1 else samples[i].min()),
      }
      for name, value in values.items():
        row[name] = float(np.mean(value[i]))
      for source, value in enumerate(values["si_sdr"][i]):
        row[f"si_sdr_{source + 1}"] = float(value)
      yield row


def score(
  *, mixture: np.ndarray, estimate: np.ndarray, reference: np.ndarray
) -> dict[str, np.ndarray]:
  """Metrics of every source of a batch of separated mixtures.

  Zeros are appended for the metrics, which they do not change: BSS-eval takes
  longer to compile than a model does, and meets few lengths this way.

  Args:
    mixture: Mixtures, `[B, T]`.
    estimate: Estimates in the order of the references, `[B, S, T]`.
    reference: References, `[B, S, T]`.

  Returns:
    `si_sdr`, `si_snr` and `sdr`, the same of the mixture as `mixture_si_sdr`
    ... and the `si_sdr_improvement` ... over it, in dB, each `[B, S]`.
  """
  before = np.broadcast_to(mixture[:, None], reference.shape)
  # Side by side, so that one compiled function does for both.
  both = np.concatenate([estimate, before])
  references = np.concatenate([reference, reference])
  found = jax.device_get(
    _score(
      _padded(both),
      _padded(references),
      _padded(_centred(both)),
      _padded(_centred(references)),
    )
  )
  values = {}
  for name in ("si_sdr", "si_snr", "sdr"):
    values[name], values[f"mixture_{name}"] = np.split(found[name], 2)
    values[f"{name}_improvement"] = values[name] - values[f"mixture_{name}"]
  return values


@jax.jit
def _score(estimate, reference, centred_estimate, centred_reference):
  """Ratios of padded signals, `[B, S]`; see `score`."""
  return {
    "si_sdr": metrics.si_sdr(estimate, reference),
    "si_snr": metrics.si_sdr(centred_estimate, centred_reference),
    "sdr": metrics.bss_eval(estimate, reference)[0],
  }


def _centred(signals):
  """Signals without their means, which padding would change."""
  mean = signals.mean(axis=-1, keepdims=True, dtype=np.float64)
  return (signals - mean).astype(np.float32)


def _padded(signals):
  """Signals with zeros up to a multiple of `_SCORED_SAMPLES`."""
  missing = -signals.shape[-1] % _SCORED_SAMPLES
  return np.pad(signals, ((0, 0), (0, 0), (0, missing)))


def table(rows: Sequence[dict[str, Any]], caption: str = "") -> str:
  """A Markdown table of means, standard errors and medians.

  Args:
    rows: As `evaluate` yields them.
    caption: A line to put below.

  Returns:
    Its lines.
  """
  lines = [
    f"| {len(rows)} mixtures | mean | standard error | median |",
    "|---|---|---|---|",
  ]
  for name, title in TABLE.items():
    values = np.array([row[name] for row in rows])
    error = values.std() / max(len(values) - 1, 1) ** 0.5
    lines.append(
      f"| {title} (dB) | {values.mean():.2f} | {error:.2f} "
      f"| {np.median(values):.2f} |"
    )
  return "\n".join(lines + ["", caption] * bool(caption))


def spread_over_folders(rows: Sequence[dict[str, Any]]) -> str:
  """How much the mean depends on who talks.

  Mixtures of the same few talkers are no independent draws: the standard error
  over mixtures is that of these talkers' mixtures, and says nothing of others.

  Args:
    rows: As `evaluate` yields them, with the `folders` of each mixture's files.

  Returns:
    A sentence on the means of each set of folders; "" where there are no
    folders, or fewer than two mixtures to a set.
  """
  sets: dict[str, list[float]] = {}
  for row in rows:
    sets.setdefault(row.get("folders", ""), []).append(
      row["si_sdr_improvement"]
    )
  if not 1 < len(sets) <= len(rows) / 2:
    return ""
  means = np.array([np.mean(values) for values in sets.values()])
  error = means.std() / (len(means) - 1) ** 0.5
  return (
    f"The SI-SDRi of the {len(means)} sets of talkers (first folders) is "
    f"{means.min():.2f} to {means.max():.2f} dB, the standard error over them "
    f"{error:.2f} dB."
  )


def write_rows(path: pathlib.Path, rows: Sequence[dict[str, Any]]) -> None:
  """Writes rows as CSV or JSON lines, by the ending of the path."""
  hidden = path.with_name(f".{path.name}")
  with open(hidden, "w", newline="") as file:
    if path.suffix == ".csv":
      writer = csv.DictWriter(file, list(rows[0]))
      writer.writeheader()
      for row in rows:
        writer.writerow(
          {
            name: f"{value:.4f}" if isinstance(value, float) else value
            for name, value in row.items()
          }
        )
    else:
      for row in rows:
        file.write(json.dumps(row) + "\n")
  os.replace(hidden, path)
