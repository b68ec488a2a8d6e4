"""Separates speech that lacks low, middle or high frequencies."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.harmonic_probes import filter_sets
from experiments.harmonic_probes.filter_sets import ProbeFilter
from experiments.harmonic_probes.probe_set import ProbeSet
from jaxsep import dsp, metrics
from jaxsep.typing import Array, Float

Row = dict[str, Any]

#: What the unfiltered mixtures are called where a filter's name would stand.
NATIVE = "none"

_SHORT = {"lowpass": "lp", "highpass": "hp", "bandstop": "bs", "bandpass": "bp"}
# Mixtures scored at a time: bounds the memory of BSS-eval.
_BATCH_SIZE = 10


def probe_filters(
  separate: Any,
  mixtures: ProbeSet,
  *,
  filters: Iterable[ProbeFilter] = filter_sets.ALL,
  filtered_models: Mapping[str, Any] | None = None,
  native: np.ndarray | None = None,
  say: Callable[[str], None] = lambda line: None,
) -> list[Row]:
  """Filters every source, separates the sum, and compares with the sources.

  References are filtered as the mixtures are. Values are means over the
  sources of a mixture, in dB: SDR is that of BSS-eval with 512 taps, SI-SDR
  forgives no filtering; both under the best permutation.

  Args:
    separate: A `separator.Separator` of a model trained on natural speech.
    mixtures: The mixtures.
    filters: The filters.
    filtered_models: Separators trained on filtered speech, by the short name
      of their filter, see `short_name`.
    native: Estimates for the mixtures without a filter, `[N, S, T]`, if they
      are there already.
    say: Told of the progress.

  Returns:
    For no filter at all and for every filter, a row for every mixture:
    `filter`, `band`, `low_hz`, `high_hz`, `mixture`; `sdr_db`, `si_sdr_db`
    and, over the mixture itself, `sdr_improvement_db` and
    `si_sdr_improvement_db`; and of the baselines `filtered_after_sdr_db`,
    the estimates for the natural mixture, filtered, and
    `trained_on_filtered_sdr_db`, with the same endings. A baseline that there
    is not is None.

  Raises:
    ValueError: If there is a model for a filter that is not among them.
  """
  filters = list(filters)
  filtered_models = dict(filtered_models or {})
  _check_models(filters, filtered_models)
  sources = mixtures.sources
  if native is None:
    native = np.asarray(separate(mixtures.mixture))
  say("natural speech")
  rows = _rows(mixtures, None, score(native, sources))
  for entry in filters:
    apply = _compiled(entry, mixtures.sample_rate_hz)
    reference = np.asarray(apply(sources))
    mixture = reference.sum(axis=1)
    values = score(separate(mixture), reference)
    after = score(np.asarray(apply(native)), reference, improvement=False)
    values |= {f"filtered_after_{name}": x for name, x in after.items()}
    trained = filtered_models.get(short_name(entry))
    if trained is not None:
      found = score(trained(mixture), reference, improvement=False)
      values |= {f"trained_on_filtered_{name}": x for name, x in found.items()}
    rows += _rows(mixtures, entry, values)
    say(entry.name)
  return rows


def short_name(entry: ProbeFilter) -> str:
  """A filter in a word, as for a flag.

  Args:
    entry: The filter.

  Returns:
    Such as lp300, hp180 or bs350-400.

  Example:
    >>> [short_name(entry) for entry in filter_sets.BASELINES[2:5]]
    ['lp1200', 'hp180', 'hp300']
  """
  edges = "-".join(f"{edge:g}" for edge in _edges(entry))
  return f"{_SHORT[entry.filter.band]}{edges}"


def score(
  estimate: Float[Array, "mixtures sources time"],
  reference: Float[Array, "mixtures sources time"],
  *,
  improvement: bool = True,
) -> dict[str, np.ndarray]:
  """Scores estimates under the best permutation, batch by batch.

  Args:
    estimate: Channels in any order, `[N, S, T]`.
    reference: The sources, `[N, S, T]`, whose sum was separated.
    improvement: Whether to compare with the mixture as well.

  Returns:
    Means over the sources by name, each `[N]`, in dB.
  """
  total = len(reference)
  parts = []
  for first in range(0, total, _BATCH_SIZE):
    # The last examples again, to fill the batch.
    rows = np.minimum(np.arange(first, first + _BATCH_SIZE), total - 1)
    values = jax.device_get(
      _score(estimate[rows], reference[rows], improvement=improvement)
    )
    parts.append({name: x[: total - first] for name, x in values.items()})
  return {
    name: np.concatenate([part[name] for part in parts]) for name in parts[0]
  }


def _score_batch(estimate, reference, *, improvement):
  """See `score`."""
  pairs = (*reference.shape[:2], *reference.shape[1:])
  si_sdr = metrics.si_sdr(
    jnp.broadcast_to(estimate[:, :, None], pairs),
    jnp.broadcast_to(reference[:, None], pairs),
  )
  order = dsp.best_permutation(-si_sdr)[:, None]
  values = {
    "sdr_db": metrics.bss_eval_permuted(estimate, reference)[0],
    "si_sdr_db": jnp.take_along_axis(si_sdr, order, axis=1)[:, 0],
  }
  if improvement:
    mixture = jnp.sum(reference, axis=1, keepdims=True)
    mixture = jnp.broadcast_to(mixture, reference.shape)
    before = {
      "sdr_db": metrics.bss_eval(mixture, reference)[0],
      "si_sdr_db": metrics.si_sdr(mixture, reference),
    }
    for name, value in before.items():
      gain = values[name] - value
      values[f"{name.removesuffix('_db')}_improvement_db"] = gain
  return {name: jnp.mean(value, axis=-1) for name, value in values.items()}


_score = jax.jit(_score_batch, static_argnames="improvement")


def summarize_filters(rows: Iterable[Row]) -> list[Row]:
  """Means over the mixtures.

  Args:
    rows: As `probe_filters` returns them.

  Returns:
    A row for every filter, in their order: its frequencies, the number of
    `mixtures`, the mean of every value and, as `sdr_error_db`, the standard
    error of the SDR; and `paper_sdr_db` where the paper's text has it.
  """
  groups: dict[str, list[Row]] = {}
  for row in rows:
    groups.setdefault(row["filter"], []).append(row)
  paper = {entry.name: entry.paper_sdr_db for entry in filter_sets.ALL}
  paper[NATIVE] = filter_sets.PAPER_NATIVE_SDR_DB
  table = []
  for name, group in groups.items():
    line = {key: group[0][key] for key in _PLACE}
    line["mixtures"] = len(group)
    for key in _VALUES:
      values = [row[key] for row in group]
      line[key] = None if None in values else float(np.mean(values))
    sdr = np.array([row["sdr_db"] for row in group])
    line["sdr_error_db"] = float(sdr.std() / max(len(sdr) - 1, 1) ** 0.5)
    line["paper_sdr_db"] = paper.get(name)
    table.append(line)
  return table


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


def _rows(mixtures, entry, values):
  """A row for every mixture."""
  place: Row = dict.fromkeys(_PLACE)
  place["filter"] = NATIVE
  if entry is not None:
    edges = _edges(entry)
    # What is stopped, or where the pass band ends.
    place |= {"filter": entry.name, "band": entry.filter.band}
    place |= {"low_hz": edges[0], "high_hz": edges[-1]}
    place["method"] = entry.filter.method
  return [
    {
      **place,
      "mixture": mixtures.name[i],
      **{
        name: float(values[name][i]) if name in values else None
        for name in _VALUES
      },
    }
    for i in range(len(mixtures))
  ]


def _edges(entry):
  """The cut-off frequencies of a filter."""
  cutoff = entry.filter.cutoff_hz
  return cutoff if isinstance(cutoff, tuple) else (cutoff,)


def _compiled(entry, sample_rate_hz):
  """The filter as one compiled function of `[N, S, T]`."""
  return jax.jit(lambda x: entry.filter(x, sample_rate_hz=sample_rate_hz))


def _check_models(filters, filtered_models):
  """Raises if there is a model that would not be used."""
  known = [short_name(entry) for entry in filters]
  for name in filtered_models:
    if name not in known:
      raise ValueError(
        f"there is a model for the filter {name!r}, which is none of "
        f"{', '.join(known)}"
      )
