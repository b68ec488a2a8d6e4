"""Separates and scores batches of mixtures; rows and tables of the scores."""

import csv
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
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


def score(reference: Any, estimate: Any, mixture: Any) -> dict[str, Any]:
  """Metrics of every source of a batch of separated mixtures.

  Args:
    reference: References, `[B, S, T]`.
    estimate: Estimates in the order of the references, `[B, S, T]`.
    mixture: Mixtures, `[B, T]`.

  Returns:
    Values in dB by name, each `[B, S]`.
  """
  before = jnp.broadcast_to(mixture[:, None], reference.shape)
  values = {}
  for name, metric in (
    ("si_sdr", metrics.si_sdr),
    ("si_snr", metrics.si_snr),
    ("sdr", lambda *pair: metrics.bss_eval(*pair)[0]),
  ):
    values[name] = metric(estimate, reference)
    values[f"mixture_{name}"] = metric(before, reference)
    values[f"{name}_improvement"] = values[name] - values[f"mixture_{name}"]
  return values


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
  def step(params, batch):
    signals = task.separate(params, {}, batch, key=eval_key())
    return score(signals["reference"], signals["estimate"], signals["mixture"])

  for batch in batches_:
    values = jax.device_get(step(params, batch))
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


def table(rows: Sequence[dict[str, Any]]) -> str:
  """A Markdown table of means, standard errors and medians."""
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
  return "\n".join(lines)


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
