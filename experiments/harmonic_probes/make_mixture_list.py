"""Writes a fixed list of two-speaker mixtures to report results on.

  python -m experiments.harmonic_probes.make_mixture_list \
    --corpus=librispeech:LibriSpeech/test-other \
    --output=experiments/harmonic_probes/lists/libri_test_other_2mix.csv

The same corpus and flags always write the same file. Only the list is
written; the mixtures are made when it is read, by `mixture_lists`.
"""

import math
import pathlib
from collections.abc import Sequence
from typing import Any

from data_pipelines import corpora, mixture_lists
from experiments.command import Parser, run_or_exit
from experiments.rows import refuse_existing


def output_path(name: str, *, overwrite: bool) -> pathlib.Path:
  """Where the list goes, checked before there is one."""
  path = pathlib.Path(name)
  if not path.name or path.is_dir():
    raise ValueError(f"--output is {path}; it is a CSV file to write")
  refuse_existing([path], overwrite=overwrite)
  if not path.parent.is_dir():
    raise ValueError(f"--output is {path}, but there is no {path.parent}")
  return path


def snr_range_db(text: str) -> tuple[float, float]:
  """The two numbers of --snr_range_db."""
  try:
    low, high = (float(word) for word in text.split(","))
    good = -math.inf < low <= high < math.inf
  except ValueError:
    good = False
  if not good:
    raise ValueError(
      f"--snr_range_db is {text}; it takes two numbers, the lower one first, "
      "such as 0,2.5"
    )
  return low, high


def run(flags: Any) -> None:
  """Makes and writes the list."""
  for name in ("corpus", "output"):
    if not getattr(flags, name):
      raise ValueError(f"--{name} is missing")
  output = output_path(flags.output, overwrite=flags.overwrite)
  snr_db = snr_range_db(flags.snr_range_db)
  splits = corpora.splits_of(flags.corpus)
  corpus = corpora.open_corpus(
    flags.corpus, cache_dir=flags.cache_dir, split=splits and splits[-1]
  )
  mixtures = mixture_lists.make_pair_list(
    corpus,
    num_sources=flags.num_sources,
    num_examples=flags.num_examples,
    snr_range_db=snr_db,
    mode=flags.mode,
    seed=flags.seed,
  )
  mixture_lists.write_list(mixtures, output)
  seconds = (mixtures.length / mixtures.rate_hz).sum()
  print(
    f"{output}: {len(mixtures)} mixtures of {mixtures.num_sources}"
    f" speakers, {seconds / 3600:.2f} h"
  )


def main(argv: Sequence[str] | None = None) -> None:
  """Reads the flags and runs; an error is one line."""
  parser = Parser(__doc__)
  add = parser.add
  add("corpus", help="Utterances as layout:where.")
  add("output", help="CSV file to write.")
  add("num_sources", type=int, default=2, help="Speakers in a mixture.")
  add("num_examples", type=int, help="Mixtures to draw; all if not given.")
  add(
    "snr_range_db",
    default="0,2.5",
    help="How far the first speaker is raised and the second lowered, in dB.",
  )
  add(
    "mode",
    default="min",
    choices=["min", "max"],
    help="Cut to the shortest or pad to the longest.",
  )
  add("seed", type=int, default=0, help="Seed of every draw.")
  add("overwrite", type=bool, help="Replace the file.")
  add("cache_dir", help="Where to remember the scan of the corpus.")
  flags = parser.parse(argv)
  run_or_exit(lambda: run(flags), debug=flags.debug)


if __name__ == "__main__":
  main()
