r"""Writes one manifest of the utterances of several corpora.

  python -m experiments.pretrained.make_manifest \
    --corpus=librispeech:LibriSpeech/train-clean-100 \
    --corpus=speaker_folders:vctk \
    --valid_speakers=LibriSpeech/cv_speakers.txt --output=speech.csv

Train on it with --config.data.corpus=manifest:speech.csv. Its column "split" is
"valid" for the speakers that files of --valid_speakers name, one a line, and
"train" for the others; those of --left_out are in neither.
"""

import csv
import os
from collections.abc import Sequence
from typing import Any

from data_pipelines import corpora
from data_pipelines.files import read_names
from experiments.command import Parser
from experiments.harmonic_probes.make_mixture_list import output_path


def run(flags: Any) -> None:
  """Makes and writes the manifest."""
  output = output_path(flags.output, overwrite=flags.overwrite)
  names = {"valid": flags.valid_speakers, "": flags.left_out}
  split_of = {
    name: split
    for split, files in names.items()
    for file in files
    for name in read_names(file)
  }
  lines: list[tuple] = []
  for number, spec in enumerate(flags.corpus):
    corpus = corpora.open_corpus(spec)
    for row in range(len(corpus)):
      speaker = corpus.speakers[corpus.speaker[row]]
      if split := split_of.get(speaker, "train"):
        path = os.path.abspath(corpus.full_path(row))
        # Two corpora may use one name for two speakers.
        lines.append((path, f"{number}_{speaker}", split))
  with open(output, "w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(("path", "speaker", "split"))
    writer.writerows(lines)
  for split in ("train", "valid"):
    chosen = [line for line in lines if line[2] == split]
    speakers = len({speaker for _, speaker, _ in chosen})
    print(f"{split}: {len(chosen)} utterances of {speakers} speakers")


def main(argv: Sequence[str] | None = None) -> None:
  """Reads the flags and writes; an error is one line."""
  parser = Parser(__doc__)
  add = parser.add
  corpus_help = "layout:where; give it once for each corpus."
  add("corpus", type=list, required=True, help=corpus_help)
  add("valid_speakers", type=list, help="File of speakers to validate on.")
  add("left_out", type=list, help="File of speakers to leave out.")
  add("output", required=True, help="CSV file to write.")
  add("overwrite", type=bool, help="Replace the file.")
  parser.run(run, argv)


if __name__ == "__main__":
  main()
