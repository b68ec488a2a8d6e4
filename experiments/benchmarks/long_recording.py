"""Recordings longer than a model's window: speed, memory, order of the outputs.

  python -m experiments.benchmarks.long_recording
  python -m experiments.benchmarks.long_recording --css
  python -m experiments.benchmarks.long_recording --stability

The first separates an hour, which is made while it is read, and prints how
many times faster than real time it was, and the most memory the process held,
less the model's parameters.

The second does so in the windows of continuous separation, with a small
`ConformerSeparator` with random weights, at 16 kHz.

The third makes minutes of two speakers, of pairs of a corpus, on which models
lose the order of their outputs (`stability_cases`), and prints for each case,
and for all cases of the third of the pairs with the most similar voices, whose
median F0 is nearest,

- wrong: the share of two-second windows in the wrong output. A window is wrong
  if its outputs, exchanged, have at least 1 dB less error than as they are; it
  is counted if exchanging them makes a difference of 1 dB at all, and if its
  sources are less than 40 dB below the loudest window. Which output is whose is
  what most counted windows of the recording say;
- for good: recordings in which most windows of the first third say something
  else than most of the last third;
- the mean SI-SDR in one order, and with every window in its best order;
- alone: the median level of the softer output below the louder one, in windows
  in which one person speaks alone.

Beside it stands the same with 4 s chunks put in order by an oracle, which knows
the sources but does not exchange outputs within a chunk. A causal model
separates as in `jaxsep separate --stream`; beside it stands the same without
`inference.LiveOrder`.

The verdict holds for all cases and for similar voices alone. The case of one
person is outside: two parts of a recording are no speakers to tell apart.
"""

import itertools
import os
import resource
import time
import types

import numpy as np

from experiments.benchmarks.measuring import (
  keep_to,
  random_variables,
  verdict,
)
from experiments.benchmarks.stability_cases import (
  CASES,
  DURATION_S,
  make_cases,
  pitch_distances,
  read_speakers,
)
from experiments.command import Parser, say

_WINDOW_S = 2
_LEVEL = 0.1
_FASTER, _FASTER_CSS, _MOST_GB = 10, 15, 1.5
_MOST_WRONG, _MOST_ALONE_DB = 0.02, -15.0
_SIMILAR, _SAME = "similar voices", "same person"


class WithOracle:
  """Joins chunks twice: as usual, and each in the order that fits best."""

  def __init__(self, references: np.ndarray, rate_hz: int):
    from jaxsep import inference

    self._references = references
    self._usual = inference.CrossFade(len(references), sample_rate_hz=rate_hz)
    self._start, self._pending = 0, np.zeros(references.shape, np.float32)
    self._pending = self._pending[:, :0]
    self._late = self._pending  # Joined by the oracle, not given yet.

  def add(self, chunk, estimate):
    """Adds a chunk, see `inference.CrossFade`; both results, `[4, any]`."""
    usual = self._usual.add(chunk, estimate)
    end = chunk.start + estimate.shape[1]
    match = estimate @ self._references[:, chunk.start : end].T
    if match[0, 1] + match[1, 0] > match.trace():
      estimate = estimate[::-1]
    kept = chunk.start - self._start
    shared, best = self._pending[:, kept:], estimate.copy()
    fade = np.linspace(0, 1, shared.shape[1])
    best[:, : len(fade)] += (1 - fade) * (shared - best[:, : len(fade)])
    self._late = np.concatenate([self._late, self._pending[:, :kept]], axis=1)
    self._start, self._pending = chunk.start, best
    return self._with_late(usual)

  def flush(self):
    """The rest."""
    self._late = np.concatenate([self._late, self._pending], axis=1)
    return self._with_late(self._usual.flush())

  def _with_late(self, usual):
    late, self._late = np.split(self._late, [usual.shape[1]], axis=1)
    return np.concatenate([usual, late])


def score(estimate: np.ndarray, reference: np.ndarray, rate_hz: int) -> dict:
  """What the text above says of a recording, arrays `[2, T]`."""
  from jaxsep import metrics

  size = _WINDOW_S * rate_hz
  whole = reference.shape[1] // size * size
  parts = [
    signals[:, :whole].astype(np.float64).reshape(2, -1, size)
    for signals in (estimate, reference)
  ]
  orders = np.stack([parts[0], parts[0][::-1]])  # [order, source, window, T]
  error = np.square(orders - parts[1]).sum(axis=(1, 3)) + 1e-9
  energy = np.square(parts[1]).sum(axis=-1)
  is_active = energy.sum(axis=0) > 1e-4 * energy.sum(axis=0).max()
  difference = np.abs(10 * np.log10(error[0] / error[1]))
  best = error.argmin(axis=0)
  said = best[is_active & (difference >= 1)]
  usual = int(2 * said.sum() > len(said))
  thirds = [2 * third.sum() > len(third) for third in np.array_split(said, 3)]
  in_best = np.where(best[:, np.newaxis] == 1, orders[1], orders[0])
  is_alone = is_active & (energy.min(axis=0) < 1e-6 * energy.max(axis=0))
  levels = np.square(parts[0]).sum(axis=-1)[:, is_alone] + 1e-12
  ratios = [
    float(np.mean(metrics.si_sdr(signals.reshape(2, -1), reference[:, :whole])))
    for signals in (orders[usual], in_best)
  ]
  return {
    "windows": len(said),
    "wrong": int((said != usual).sum()),
    "for_good": int(thirds[0] != thirds[2]),
    "one_order": ratios[0],
    "best_order": ratios[1],
    "alone": 10 * np.log10(levels.min(axis=0) / levels.max(axis=0)),
  }


def line(scores: list[dict]) -> str:
  """The scores of some recordings."""
  windows = sum(score["windows"] for score in scores)
  wrong = sum(score["wrong"] for score in scores) / max(windows, 1)
  for_good = sum(score["for_good"] for score in scores)
  one, best = (
    np.mean([score[name] for score in scores])
    for name in ("one_order", "best_order")
  )
  alone = np.concatenate([score["alone"] for score in scores])
  level = f"{np.median(alone):5.1f} dB" if len(alone) else "       -"
  return (
    f"{100 * wrong:5.1f} % {for_good:3d} of {len(scores):<3d}"
    f" {one:6.2f} / {best:5.2f} dB {level}"
  )


def joined(loaded, mixture: np.ndarray, references: np.ndarray) -> np.ndarray:
  """Sources as `separate` gives them, then as an oracle orders the chunks."""
  from jaxsep import inference

  rate = loaded.sample_rate_hz
  return inference.separate(
    loaded.model,
    loaded.variables,
    mixture,
    sample_rate_hz=rate,
    join=lambda _, sample_rate_hz: WithOracle(references, sample_rate_hz),
  )


def streamed(loaded, mixture: np.ndarray, _) -> np.ndarray:
  """Sources as a stream gives them, then as the model does."""
  import jax

  from experiments.pretrained import score as pretrained

  ordered = pretrained.streamed(loaded, mixture)
  usual = jax.jit(loaded.model.apply)(loaded.variables, mixture[None])[0]
  return np.concatenate([ordered, usual])


def stability(loaded, options) -> None:
  """Prints the table of cases."""
  rate = loaded.sample_rate_hz
  is_causal = getattr(loaded.model, "is_causal", False)
  spec = options.corpus
  if spec is None:
    folder = os.environ.get("JAXSEP_DATA")
    spec = (
      f"librispeech:{folder}/LibriSpeech/test-other" if folder else "voices"
    )
  speakers = read_speakers(spec, options.num_speakers, rate)
  pairs = list(itertools.combinations(speakers, 2))
  distance = pitch_distances(speakers, rate)
  nearest = sorted(pairs, key=distance.__getitem__)
  similar = nearest[: -(-min(len(pairs), options.num_pairs) // 3)]
  # The others as they come; with all pairs, the order makes no difference.
  others = [pair for pair in pairs if pair not in similar]
  chosen = (similar + others)[: options.num_pairs]
  names = (*CASES, _SIMILAR)
  scores: dict[str, list] = {name: [] for name in names}
  oracle: dict[str, list] = {name: [] for name in names}
  separate = streamed if is_causal else joined
  for number, pair in enumerate(chosen):
    one, other = (speakers[name] for name in pair)
    cases = make_cases(one, other, rate, seed=pairs.index(pair))
    for name, references, mixture in cases:
      references = _LEVEL * references
      mixture = (_LEVEL * mixture).astype(np.float32)
      estimate = separate(loaded, mixture, references)
      rows = [name] + [_SIMILAR] * (pair in similar and name != _SAME)
      for row in rows:
        scores[row].append(score(estimate[:2], references, rate))
        oracle[row].append(score(estimate[2:], references, rate))
    say(f"{number + 1} of {len(chosen)} pairs")
  print(
    f"{spec}: {len(chosen)} pairs of {len(speakers)} speakers, {DURATION_S} s"
    f" at {rate} Hz\n{_SIMILAR}: {', '.join(map(' and '.join, similar))}, up to"
    f" {max(distance[pair] for pair in similar):.1f} semitones apart; all:"
    f" {np.median(list(distance.values())):.1f} in the median\n"
    f"{'':16}  wrong  for good  SI-SDR, one / best order    alone"
    f"   | {'without order' if is_causal else 'oracle'}"
  )
  for name in names:
    print(f"{name:16} {line(scores[name])} | {line(oracle[name])}")
  cases = [result for name in CASES if name != _SAME for result in scores[name]]
  limits = f"{100 * _MOST_WRONG:g} %, none for good, {_MOST_ALONE_DB:g} dB"
  for what, told in (
    (f"all cases but {_SAME}", cases),
    (_SIMILAR, scores[_SIMILAR]),
  ):
    wrong = sum(s["wrong"] for s in told) / sum(s["windows"] for s in told)
    for_good = sum(s["for_good"] for s in told)
    alone = np.median(np.concatenate([s["alone"] for s in told]))
    holds = wrong <= _MOST_WRONG and not for_good and alone <= _MOST_ALONE_DB
    print(
      f"{what}: {100 * wrong:.1f} % wrong, {for_good} of {len(told)} for good,"
      f" alone {alone:.1f} dB; {verdict(holds, limits)}"
    )


def speed(loaded, options, faster=_FASTER, **how) -> None:
  """Prints time and memory of a long recording, separated as `how` says."""
  import jax

  from jaxsep import inference

  rate = loaded.sample_rate_hz
  rng = np.random.default_rng(0)
  minute = np.float32(rng.normal(0, _LEVEL, 60 * rate))
  minute *= np.repeat(rng.random(120) > 0.2, rate // 2)
  blocks = (
    np.roll(minute, -part * rate)[:rate] for part in range(options.seconds)
  )
  begin = time.perf_counter()
  parts = inference.separate_blocks(
    loaded.model, loaded.variables, blocks, sample_rate_hz=rate, **how
  )
  count = sum(part.shape[1] for part in parts)
  factor = count / rate / (time.perf_counter() - begin)
  # In KiB on Linux.
  memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  memory -= sum(leaf.nbytes for leaf in jax.tree.leaves(loaded.variables))
  print(
    f"{count / rate:g} s at {rate} Hz: {factor:.1f} times real time,"
    f" {memory / 1e9:.2f} GB beyond the model; "
    + verdict(
      factor > faster and memory < 1e9 * _MOST_GB,
      f"over {faster} times, under {_MOST_GB} GB",
    )
  )


def css(options) -> None:
  """The same for continuous separation."""
  from jaxsep import inference, models

  model, rate = models.ConformerSeparator(num_layers=6), 16_000
  loaded = types.SimpleNamespace(
    model=model, variables=random_variables(model), sample_rate_hz=rate
  )
  windows = inference.CssWindows(sample_rate_hz=rate)
  speed(
    loaded, options, _FASTER_CSS,
    cut=windows, join=inference.CssJoin, even_level=False,
  )  # fmt: skip


def run(options):
  """Prints one of the three."""
  keep_to(options.num_cores)
  if options.css:
    css(options)
    return
  import jaxsep

  loaded = jaxsep.load(options.model)
  (stability if options.stability else speed)(loaded, options)


def main():
  """Runs; an error is one line."""
  parser = Parser(__doc__)
  parser.add(
    "model",
    default="two_speakers_8k",
    help="Folder or name of a model of two speakers.",
  )
  parser.add("css", type=bool, help="Continuous separation.")
  parser.add("stability", type=bool, help="The order of the outputs.")
  parser.add(
    "corpus",
    help="Utterances as layout:where; test-other in JAXSEP_DATA, or voices.",
  )
  parser.add("num_speakers", type=int, default=5, least=2)
  parser.add("num_pairs", type=int, default=10, least=1)
  parser.add("seconds", type=int, default=3600, least=1, help="Of speed.")
  parser.add("num_cores", type=int, default=2, help="0 for all.")
  parser.run(run)


if __name__ == "__main__":
  main()
