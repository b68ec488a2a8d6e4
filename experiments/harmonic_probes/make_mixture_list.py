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

from absl import app, flags

from data_pipelines import corpora, mixture_lists
from experiments.command import run_or_exit

_CORPUS = flags.DEFINE_string(
  "corpus",
  None,
  "Utterances as layout:where, such as librispeech:DIR.",
  required=True,
)
_OUTPUT = flags.DEFINE_string(
  "output", None, "CSV file to write.", required=True
)
_NUM_SOURCES = flags.DEFINE_integer("num_sources", 2, "Speakers in a mixture.")
_NUM_EXAMPLES = flags.DEFINE_integer(
  "num_examples", None, "Mixtures to draw; all there are if not given."
)
_SNR_RANGE_DB = flags.DEFINE_list(
  "snr_range_db",
  ["0", "2.5"],
  "How far the first speaker is raised and the second lowered, in dB.",
)
_MODE = flags.DEFINE_enum(
  "mode", "min", ["min", "max"], "Cut to the shortest or pad to the longest."
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of every draw.")
_OVERWRITE = flags.DEFINE_bool(
  "overwrite", False, "Replace the file if it is there."
)
_CACHE_DIR = flags.DEFINE_string(
  "cache_dir", None, "Where to remember the scan of the corpus."
)


def output_path() -> pathlib.Path:
  """Where the list goes, checked before there is one."""
  path = pathlib.Path(_OUTPUT.value or "")
  if not path.name or path.is_dir():
    raise ValueError(f"--output is {path}; it is a CSV file to write")
  if path.exists() and not _OVERWRITE.value:
    raise ValueError(
      f"{path} is there already; choose another --output, or pass --overwrite"
    )
  if not path.parent.is_dir():
    raise ValueError(f"--output is {path}, but there is no {path.parent}")
  return path


def snr_range_db() -> tuple[float, float]:
  """The two numbers of --snr_range_db."""
  words = _SNR_RANGE_DB.value
  try:
    low, high = (float(word) for word in words)
    good = -math.inf < low <= high < math.inf
  except ValueError:
    good = False
  if not good:
    raise ValueError(
      f"--snr_range_db is {','.join(words)}; it takes two numbers, the lower "
      "one first, such as 0,2.5"
    )
  return low, high


def run() -> None:
  """Makes and writes the list."""
  output, snr_db = output_path(), snr_range_db()
  corpus = corpora.open_corpus(_CORPUS.value, cache_dir=_CACHE_DIR.value)
  mixtures = mixture_lists.make_pair_list(
    corpus,
    num_sources=_NUM_SOURCES.value,
    num_examples=_NUM_EXAMPLES.value,
    snr_range_db=snr_db,
    mode=_MODE.value,
    seed=_SEED.value,
  )
  mixture_lists.write_list(mixtures, output)
  seconds = (mixtures.length / mixtures.rate_hz).sum()
  print(
    f"{output}: {len(mixtures)} mixtures of {mixtures.num_sources}"
    f" speakers, {seconds / 3600:.2f} h"
  )


def main(argv: Sequence[str]) -> None:
  """Runs; an error is one line."""
  run_or_exit(run, argv)


if __name__ == "__main__":
  app.run(main)
