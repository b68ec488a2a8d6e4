"""`jaxsep score`."""

import argparse
import json
import math

import numpy as np

from jaxsep import audio, dsp, metrics
from jaxsep.cli._console import UsageError, note
from jaxsep.cli._recording import check_channel


def run(options: argparse.Namespace) -> int:
  """Scores estimates under the permutation with the best mean SI-SDR."""
  if len(options.reference) != len(options.estimate):
    raise UsageError(
      f"{len(options.reference)} references, but {len(options.estimate)}"
      " estimates; give one estimate for each"
    )
  names = [*options.reference, *options.estimate]
  if options.mixture:
    names.append(options.mixture)
  signals, rate = _read(names, options)
  count = len(options.reference)
  reference, estimate = signals[:count], signals[count : 2 * count]
  has_sound = reference.any(axis=1)
  for name, row in zip(names, signals, strict=True):
    if not row.any():
      is_reference = name in options.reference
      note(f"{name}: is silent" + "; it has no scores" * is_reference)
  order = _best_order(estimate, reference)
  estimate = estimate[order]
  scores = _ratios(estimate, reference)
  for name in ("stoi", "pesq"):
    if getattr(options, name):
      measure = getattr(metrics, name)
      try:
        value = measure(estimate, reference, sample_rate_hz=rate)
      except (ImportError, ValueError) as error:
        raise UsageError(f"--{name}: {error}") from error
      scores[name] = np.asarray(value)
  if options.mixture:
    mixture = np.broadcast_to(signals[-1], reference.shape)
    baseline = _ratios(mixture, reference)
    for name in ("si_sdr", "si_snr", "snr", "sdr"):
      scores[f"{name}_improvement"] = scores[name] - baseline[name]
  # A silent reference would give ratios that mean nothing.
  scores = {n: np.where(has_sound, v, np.nan) for n, v in scores.items()}
  rows = [
    {"reference": options.reference[i], "estimate": options.estimate[order[i]]}
    | {name: float(values[i]) for name, values in scores.items()}
    for i in range(count)
  ]
  mean = {
    name: float(values[has_sound].mean()) if has_sound.any() else math.nan
    for name, values in scores.items()
  }
  if options.json:
    content = {
      "sample_rate_hz": rate,
      "matched_by": "si_sdr",
      "sources": [{k: _json(v) for k, v in row.items()} for row in rows],
      "mean": {name: _json(value) for name, value in mean.items()},
    }
    print(json.dumps(content, indent=2))
  else:
    _print_table([*rows, {"reference": "mean", "estimate": "", **mean}])
  return 0


def _read(names, options):
  """All files as one array `[files, T]`, and their rate."""
  channel = options.channel
  signals, rates = zip(
    *(audio.read(n, allow_truncated=options.allow_truncated) for n in names),
    strict=True,
  )
  for name, rate in zip(names, rates, strict=True):
    if rate != rates[0]:
      raise UsageError(
        f"{name}: {rate} Hz, but {names[0]}: {rates[0]} Hz; resample them to"
        " one rate"
      )
  rows = []
  is_mono = all(len(signal) == 1 for signal in signals)
  for name, signal in zip(names, signals, strict=True):
    if len(signal) > 1 and channel is None:
      raise UsageError(
        f"{name}: has {len(signal)} channels; say which with --channel"
      )
    if channel is not None and (len(signal) > 1 or is_mono):
      check_channel(channel, len(signal), name)
      rows.append(audio.to_mono(signal, channel=channel))
    else:  # A file with one channel beside files with several.
      rows.append(signal[0])
  shortest = min(map(len, rows))
  for name, row in zip(names, rows, strict=True):
    if len(row) == len(rows[0]):
      continue
    line = f"{name}: {len(row)} samples, but {names[0]}: {len(rows[0])}"
    if not options.trim:
      raise UsageError(f"{line}; --trim cuts all to the shortest")
    note(f"{line}; all cut to {shortest}")
  return np.stack([row[:shortest] for row in rows]), rates[0]


def _best_order(estimate, reference):
  """The estimate that belongs to each reference."""
  ratios = [
    metrics.si_sdr(np.broadcast_to(row, reference.shape), reference)
    for row in estimate
  ]
  return np.asarray(dsp.best_permutation(-np.stack(ratios)))


def _ratios(estimate, reference):
  names = ("si_sdr", "si_snr", "snr")
  ratios = {n: getattr(metrics, n)(estimate, reference) for n in names}
  bss_eval = metrics.bss_eval(estimate, reference)
  ratios |= dict(zip(("sdr", "sir", "sar"), bss_eval, strict=True))
  return {name: np.asarray(value) for name, value in ratios.items()}


def _print_table(rows):
  titles = [_title(name) for name in rows[0]]
  cells = [
    [value if isinstance(value, str) else _number(value) for value in row]
    for row in [titles, *(row.values() for row in rows)]
  ]
  widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
  for row in cells:
    left = [row[i].ljust(widths[i]) for i in range(2)]
    right = [row[i].rjust(widths[i]) for i in range(2, len(row))]
    print("  ".join(left + right))


def _number(value):
  return "-" if math.isnan(value) else f"{value:.2f}"


def _title(name):
  if name in ("reference", "estimate"):
    return name
  base = name.removesuffix("_improvement")
  return base.upper().replace("_", "-") + ("i" if base != name else "")


def _json(value):
  """A value that JSON can hold."""
  if isinstance(value, str):
    return value
  return round(value, 6) if math.isfinite(value) else None
