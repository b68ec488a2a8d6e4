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
from experiments.command import Parser
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


def run(flags: Any) -> None:
  """Makes and writes the list."""
  output = output_path(flags.output, overwrite=flags.overwrite)
  snr_db = flags.snr_range_db
  if len(snr_db) != 2 or not -math.inf < snr_db[0] <= snr_db[1] < math.inf:
    raise ValueError(
      f"--snr_range_db is {','.join(f'{x:g}' for x in snr_db)}; it takes two "
      "numbers, the lower one first, such as 0,2.5"
    )
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
  add("corpus", required=True, help="Utterances as layout:where.")
  add("output", required=True, help="CSV file to write.")
  add("num_sources", type=int, default=2, help="Speakers in a mixture.")
  add("num_examples", type=int, help="Mixtures to draw; all if not given.")
  snr_help = "How far the first is raised and the second lowered, in dB."
  add("snr_range_db", type=tuple, default=(0.0, 2.5), help=snr_help)
  add("mode", default="min", choices=["min", "max"], help="min cuts, max pads.")
  add("seed", type=int, default=0, help="Seed of every draw.")
  add("overwrite", type=bool, help="Replace the file.")
  add("cache_dir", help="Where to remember the scan of the corpus.")
  parser.run(run, argv)


if __name__ == "__main__":
  main()
