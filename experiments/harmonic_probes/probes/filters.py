"""Figures 3 and 5: speech that lacks low, middle or high frequencies.

The paper says nothing about the kind of its filters. These are Butterworth
filters of order 8, applied forwards and backwards; --filter_method=fir takes
linear-phase ones of 1025 taps instead.

What a filter costs is measured in two ways, and they answer two questions:

- against a model trained on speech filtered alike, as the paper does: how far
  is the model from what can be learned about such speech?
- against the model's own estimates for natural speech, filtered afterwards:
  how much do the missing frequencies help it to separate the others?
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from experiments.harmonic_probes.mixtures import ProbeSet
from experiments.harmonic_probes.separator import in_best_order
from experiments.harmonic_probes.study import Result, figure, option
from experiments.rows import Row, grouped, mean_and_error
from jaxsep import metrics
from jaxsep.simulate import Filter
from jaxsep.typing import Array, Float

#: Figure 3, blue and red.
LOWPASS = tuple(Filter("lowpass", cutoff) for cutoff in (300, 700, 1200))
HIGHPASS = tuple(Filter("highpass", cutoff) for cutoff in (180, 300, 400, 700))
#: Figure 5. The paper names the first and the last two; the others are ours.
BANDSTOP = tuple(
  Filter("bandstop", (low, high))
  for low, high in zip(
    (200, 300, 200, 300, 400, 500, 350, 650),
    (800, 700, 400, 500, 600, 700, 400, 700),
    strict=True,
  )
)
#: What the unfiltered mixtures are called where a filter's name would stand.
NATIVE = "none"
#: SDR in dB of a ConvTasNet trained on natural speech, on WSJ0-2mix, where
#: the paper's text has the number and not only a figure.
PAPER_SDR_DB = {
  NATIVE: 15.8,
  "bandstop 350-400 Hz": 6.8,
  "bandstop 650-700 Hz": 9.6,
}
_SHORT = {"lowpass": "lp", "highpass": "hp", "bandstop": "bs"}
# Mixtures scored at a time: bounds the memory of BSS-eval.
_BATCH_SIZE = 10
_PLACE = ("filter", "band", "low_hz", "high_hz", "method")
_VALUES = (
  "sdr_db",
  "sdr_improvement_db",
  "si_sdr_db",
  "si_sdr_improvement_db",
  "filtered_after_sdr_db",
  "filtered_after_si_sdr_db",
  "trained_on_filtered_sdr_db",
  "trained_on_filtered_si_sdr_db",
)

option(
  "filter_method", "butterworth", "Kind of filters.", ("butterworth", "fir")
)
option(
  "filtered_models",
  (),
  "Models trained on filtered speech, as lp300=DIR,hp180=DIR,bs350-400=DIR.",
)


def load_filtered(study: Any) -> dict[str, Any]:
  """The models of --filtered_models by the short names of their filters."""
  known = [short_name(entry) for entry in LOWPASS + HIGHPASS + BANDSTOP]
  found = {}
  for word in study["filtered_models"]:
    name, _, folder = word.partition("=")
    if name not in known or not folder:
      raise ValueError(
        f"--filtered_models has {word!r}; it takes NAME=DIR, where NAME is "
        f"one of {', '.join(known)}"
      )
    found[name] = study.load(folder)
  return found


@figure(
  3, "low-pass and high-pass filters", of_speech=True, check=load_filtered
)
def cutoffs(study, model):
  """Figure 3."""
  return _figure(study, model, LOWPASS + HIGHPASS, draw_cutoffs)


@figure(5, "band-stop filters", of_speech=True, check=load_filtered)
def bandstops(study, model):
  """Figure 5."""
  return _figure(study, model, BANDSTOP, draw_bandstops)


def _figure(study, model, filters, draw):
  """Figures 3 and 5."""
  method = study["filter_method"]
  rows = probe_filters(
    model,
    study.mixtures,
    filters=[dataclasses.replace(entry, method=method) for entry in filters],
    filtered_models=load_filtered(study),
    native=study.native,
    say=study.say,
  )
  table = summarize_filters(rows)
  caption = study.caption(f"Filtered speech, {method}")
  return Result(draw(table, model=model.name), table, rows, caption)


def short_name(entry: Filter) -> str:
  """A filter in a word, as for a flag: lp300, hp180 or bs350-400."""
  return _SHORT[entry.band] + "-".join(f"{edge:g}" for edge in _edges(entry))


def _edges(entry):
  """The cut-off frequencies of a filter."""
  return np.atleast_1d(entry.cutoff_hz).tolist()


def probe_filters(
  separate: Any,
  mixtures: ProbeSet,
  *,
  filters: Iterable[Filter],
  filtered_models: Mapping[str, Any] | None = None,
  native: np.ndarray | None = None,
  say: Any = lambda line: None,
) -> list[Row]:
  """Filters every source, separates the sum, and compares with the sources.

  Returns for no filter at all and for every filter a row for every mixture,
  with the mean scores of its sources: those of `score`, and, without the
  improvements, `filtered_after_...` of the estimates for the natural mixture,
  filtered, and `trained_on_filtered_...` of the models by the `short_name` of
  their filter. A missing baseline is None.
  """
  sources, filtered_models = mixtures.sources, dict(filtered_models or {})
  if native is None:
    native = np.asarray(separate(mixtures.mixture))
  rows = _rows(mixtures, None, score(native, sources))
  say("natural speech")
  for entry in filters:
    # A new jit for each filter: its coefficients are constants of the program.
    apply = jax.jit(
      lambda x, f=entry: f(x, sample_rate_hz=mixtures.sample_rate_hz)
    )
    reference = np.asarray(apply(sources))
    mixture = reference.sum(axis=1)
    values = score(separate(mixture), reference)
    baselines = {"filtered_after": np.asarray(apply(native))}
    trained = filtered_models.get(short_name(entry))
    if trained is not None:
      baselines["trained_on_filtered"] = trained(mixture)
    for kind, estimate in baselines.items():
      found = score(estimate, reference, improvement=False)
      values |= {f"{kind}_{name}": value for name, value in found.items()}
    rows += _rows(mixtures, entry, values)
    say(str(entry))
  return rows


def _rows(mixtures, entry, values):
  """A row for every mixture."""
  edges = _edges(entry) if entry else (None,)
  place = {
    "filter": str(entry) if entry else NATIVE,
    "band": entry and entry.band,
    "low_hz": edges[0],
    "high_hz": edges[-1],
    "method": entry and entry.method,
  }
  columns = {name: values.get(name) for name in _VALUES}
  return [
    place
    | {"mixture": mixture}
    | {n: None if x is None else float(x[i]) for n, x in columns.items()}
    for i, mixture in enumerate(mixtures.name)
  ]


def score(
  estimate: Float[Array, "mixtures sources time"],
  reference: Float[Array, "mixtures sources time"],
  *,
  improvement: bool = True,
) -> dict[str, np.ndarray]:
  """Mean scores in dB of each mixture's sources, channels in the best order.

  The SDR is that of BSS-eval with 512 taps, in its own order, that with the
  highest mean SIR. The SI-SDR, which forgives no filtering, is that of the
  order with the highest mean SI-SDR. With `improvement`, also how much higher
  they are than those of the mixture.
  """
  total = len(reference)
  parts = []
  for first in range(0, total, _BATCH_SIZE):
    # The last examples again, to fill the batch.
    rows = np.minimum(np.arange(first, first + _BATCH_SIZE), total - 1)
    parts.append(
      _score(estimate[rows], reference[rows], improvement=improvement)
    )
  parts = jax.device_get(parts)
  return {
    name: np.concatenate([part[name] for part in parts])[:total]
    for name in parts[0]
  }


@functools.partial(jax.jit, static_argnames="improvement")
def _score(estimate, reference, *, improvement):
  """See `score`."""
  ordered, _ = in_best_order(estimate, reference)
  values = {
    "sdr_db": metrics.bss_eval_permuted(estimate, reference)[0],
    "si_sdr_db": metrics.si_sdr(ordered, reference),
  }
  if improvement:
    mixture = jnp.sum(reference, axis=1, keepdims=True)
    mixture = jnp.broadcast_to(mixture, reference.shape)
    before = {
      "sdr": metrics.bss_eval(mixture, reference)[0],
      "si_sdr": metrics.si_sdr(mixture, reference),
    }
    for name, value in before.items():
      values[f"{name}_improvement_db"] = values[f"{name}_db"] - value
  return {name: jnp.mean(value, axis=-1) for name, value in values.items()}


def summarize_filters(rows: Iterable[Row]) -> list[Row]:
  """Means over the mixtures, a row for every filter, with standard errors.

  `loss_...` is how much lower the SDR is than that of a baseline.
  """
  table = []
  for place, group in grouped(rows, _PLACE).items():
    line = dict(zip(_PLACE, place, strict=True)) | {"mixtures": len(group)}
    columns = {
      key: np.array([row[key] for row in group], float) for key in _VALUES
    }
    sdr = columns["sdr_db"]
    line |= {key: float(values.mean()) for key, values in columns.items()}
    line["sdr_error_db"] = mean_and_error(sdr)[1]
    for key, baseline in (
      ("loss_trained", "trained_on_filtered_sdr_db"),
      ("loss_after", "filtered_after_sdr_db"),
    ):
      loss = columns[baseline] - sdr
      line[f"{key}_db"] = float(loss.mean())
      line[f"{key}_error_db"] = mean_and_error(loss)[1]
    line["paper_sdr_db"] = PAPER_SDR_DB.get(str(line["filter"]))
    table.append(line)
  return table


def draw_cutoffs(table: Sequence[Row], *, model: str) -> Figure:
  """Draws SDRs over the cut-off, with standard errors over the mixtures."""
  drawn, axes = _start("Low-pass and high-pass", table, model)
  for band, colour, label in (
    ("lowpass", "tab:blue", "low-pass"),
    ("highpass", "tab:red", "high-pass"),
  ):
    lines = [row for row in table if row["band"] == band]
    lines.sort(key=lambda row: row["low_hz"])
    for key, style, what in (
      ("sdr_db", "o-", "trained on natural speech"),
      ("trained_on_filtered_sdr_db", "s--", "trained on filtered speech"),
      ("filtered_after_sdr_db", "^:", "natural speech, estimates filtered"),
    ):
      points = [(r["low_hz"], r[key]) for r in lines if np.isfinite(r[key])]
      if points:
        is_measured = key == "sdr_db"
        axes.errorbar(
          *zip(*points, strict=True),
          yerr=[row["sdr_error_db"] for row in lines] if is_measured else None,
          fmt=style,
          color=colour,
          markersize=5,
          capsize=3,
          alpha=1.0 if is_measured else 0.7,
          label=f"{label}, {what}",
        )
  edges = sorted({row["low_hz"] for row in table if row["band"]})
  axes.set(xlabel="cut-off frequency (Hz)", xticks=edges)
  _finish(drawn, axes)
  return drawn


def draw_bandstops(table: Sequence[Row], *, model: str) -> Figure:
  """Draws each band-stop as a line at its SDR, from edge to edge."""
  drawn, axes = _start("Band-stop", table, model)
  for number, row in enumerate(row for row in table if row["band"]):
    axes.plot(
      (row["low_hz"], row["high_hz"]),
      (row["sdr_db"],) * 2,
      color="tab:green",
      linewidth=2,
      marker="|",
      markersize=9,
      label="" if number else "band-stop, trained on natural speech",
    )
  axes.set_xlabel("stop-band (Hz)")
  axes.xaxis.set_minor_locator(MultipleLocator(50))
  axes.grid(which="minor", axis="x", color="0.95")
  _finish(drawn, axes)
  return drawn


def _start(kind, table, model):
  """A figure and its axes with a line at natural speech."""
  drawn = Figure(figsize=(6.4, 4.4), layout="constrained")
  axes = drawn.subplots()
  axes.set(title=f"{kind} filtered speech: {model}", ylabel="SDR (dB)")
  axes.margins(x=0.08, y=0.12)
  sdr_db = next(row["sdr_db"] for row in table if row["filter"] == NATIVE)
  label = f"natural speech, {sdr_db:.1f} dB"
  axes.axhline(sdr_db, color="0.3", linestyle="-.", linewidth=1, label=label)
  return drawn, axes


def _finish(drawn, axes):
  """Grid, and legend below."""
  axes.grid(color="0.9")
  axes.set_axisbelow(True)
  # From 0 dB, so that a loss looks as large as it is.
  axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
  drawn.legend(loc="outside lower center", ncols=2, fontsize="x-small")
