"""`jaxsep score`."""

import argparse
import json
import math
import operator

import numpy as np

from jaxsep import audio, dsp, metrics
from jaxsep.cli._console import (
  UsageError,
  note,
  parse_channel,
)
from jaxsep.cli._recording import check_channel

_TITLES = {"si_sdr": "SI-SDR", "si_snr": "SI-SNR"}  # Others: capitals.


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
  for name, row in zip(options.reference, reference, strict=True):
    if not row.any():
      note(f"{name}: is silent; its scores mean nothing")
  order = _best_order(estimate, reference)
  scores = _score(estimate[order], reference, rate, options)
  if options.mixture:
    mixture = np.broadcast_to(signals[-1], reference.shape)
    baseline = _ratios(mixture, reference)
    for name in ("si_sdr", "si_snr", "snr", "sdr"):
      scores[f"{name}_improvement"] = scores[name] - baseline[name]
  matched = [options.estimate[index] for index in order]
  if options.json:
    _print_json(options.reference, matched, scores, rate)
  else:
    _print_table(options.reference, matched, scores)
  return 0


def _read(names, options):
  """All files as one array `[files, T]`, and their rate."""
  channel = options.channel and parse_channel(options.channel)
  signals, rates = [], []
  for name in names:
    signal, rate = audio.read(name, allow_truncated=options.allow_truncated)
    signals.append(signal)
    rates.append(rate)
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
    # Beside files with several channels, those with one are used as they are.
    chosen = 0
    if channel is not None and (len(signal) > 1 or is_mono):
      check_channel(channel, len(signal), name)
      chosen = channel
    rows.append(audio.to_mono(signal, channel=chosen))
  lengths = [len(row) for row in rows]
  shortest = min(lengths)
  if max(lengths) > shortest:
    odd = next(i for i, length in enumerate(lengths) if length != lengths[0])
    line = f"{names[odd]}: {lengths[odd]} samples, but {names[0]}: {lengths[0]}"
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


def _score(estimate, reference, rate, options):
  scores = _ratios(estimate, reference)
  for name in ("stoi", "pesq"):
    if getattr(options, name):
      try:
        measure = getattr(metrics, name)
        value = measure(estimate, reference, sample_rate_hz=rate)
      except (ImportError, ValueError) as error:
        raise UsageError(f"--{name}: {error}") from error
      scores[name] = np.asarray(value)
  return scores


def _print_table(references, matched, scores):
  titles = [_title(name) for name in scores]
  rows = [["reference", "estimate", *titles]]
  for index, names in enumerate(zip(references, matched, strict=True)):
    values = [f"{values[index]:.2f}" for values in scores.values()]
    rows.append([*names, *values])
  means = [f"{values.mean():.2f}" for values in scores.values()]
  rows.append(["mean", "", *means])
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  for row in rows:
    left = [row[i].ljust(widths[i]) for i in range(2)]
    right = [row[i].rjust(widths[i]) for i in range(2, len(row))]
    print("  ".join(left + right))


def _title(name):
  base = name.removesuffix("_improvement")
  return _TITLES.get(base, base.upper()) + ("i" if base != name else "")


def _print_json(references, matched, scores, rate):
  def numbers(take):
    found = {name: float(take(values)) for name, values in scores.items()}
    return {
      k: round(v, 6) if math.isfinite(v) else None for k, v in found.items()
    }

  names = zip(references, matched, strict=True)
  content = {
    "sample_rate_hz": rate,
    "matched_by": "si_sdr",
    "sources": [
      {"reference": reference, "estimate": estimate}
      | numbers(operator.itemgetter(index))
      for index, (reference, estimate) in enumerate(names)
    ],
    "mean": numbers(np.mean),
  }
  print(json.dumps(content, indent=2))
