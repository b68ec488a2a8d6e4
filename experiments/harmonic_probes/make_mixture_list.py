"""Writes a fixed list of two-speaker mixtures to report results on.

  python -m experiments.harmonic_probes.make_mixture_list \
    --corpus=librispeech:LibriSpeech/test-other \
    --output=experiments/harmonic_probes/lists/libri_test_other_2mix.csv

The same corpus and flags always write the same file. Only the list is
written; the mixtures are made when it is read, by `mixture_lists`.
"""

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
_CACHE_DIR = flags.DEFINE_string(
  "cache_dir", None, "Where to remember the scan of the corpus."
)


def run() -> None:
  """Makes and writes the list."""
  corpus = corpora.open_corpus(_CORPUS.value, cache_dir=_CACHE_DIR.value)
  low, high = (float(value) for value in _SNR_RANGE_DB.value)
  mixtures = mixture_lists.make_pair_list(
    corpus,
    num_sources=_NUM_SOURCES.value,
    num_examples=_NUM_EXAMPLES.value,
    snr_range_db=(low, high),
    mode=_MODE.value,
    seed=_SEED.value,
  )
  mixture_lists.write_list(mixtures, _OUTPUT.value)
  seconds = (mixtures.length / mixtures.rate_hz).sum()
  print(
    f"{_OUTPUT.value}: {len(mixtures)} mixtures of {mixtures.num_sources}"
    f" speakers, {seconds / 3600:.2f} h"
  )


def main(argv: Sequence[str]) -> None:
  """Runs; an error is one line."""
  run_or_exit(run, argv)


if __name__ == "__main__":
  app.run(main)
