"""Padding in batches of utterances with text, and how many shapes they have.

  python -m experiments.benchmarks.buckets --corpus=librispeech:DIR

Prints, of all batches of an epoch, the share of the samples that is padding,
the same for tokens, what one bucket would waste, and the number of shapes, each
of which is compiled once. Without --corpus it reads the built-in voices and, of
the recordings in JAXSEP_DATA, train-clean-100 as in training, test-other and
the spoken digits as in evaluation, at one speed. Where a corpus has no text,
14 letters a second stand for it.
"""

import dataclasses
import os

import numpy as np

from data_pipelines import corpora
from data_pipelines.batches import batches
from data_pipelines.examples import Utterances
from experiments.benchmarks.measuring import verdict
from experiments.command import Parser

_MOST_WASTED, _MOST_SHAPES = 0.10, 8
_RATE_HZ, _LETTERS_PER_S = 8000, 14


def measure(examples, *, batch_size):
  """Shares of padding in samples, in tokens, in one bucket; the shapes."""
  which = {"batch_size": batch_size, "buckets": examples.buckets}
  num_steps = len(batches(examples, num_examples=examples.epoch_size, **which))
  used, places, lengths, shapes = np.zeros(2), np.zeros(2), [], set()
  reading = batches(examples, **which)
  for _ in range(num_steps):
    batch = next(reading)
    lengths.append(batch["signal_length"])
    used += lengths[-1].sum(), batch["tokens_length"].sum()
    places += batch["signal"].size, batch["tokens"].size
    shapes.add((batch["signal"].shape, batch["tokens"].shape))
  reading.close()
  length = np.concatenate(lengths)
  return *(1 - used / places), 1 - length.mean() / length.max(), len(shapes)


def run(options):
  """Prints the lines."""
  speeds = options.speeds
  corpora_ = {options.corpus or "voices": speeds}
  if not options.corpus and (folder := os.environ.get("JAXSEP_DATA")):
    corpora_[f"librispeech:{folder}/LibriSpeech/train-clean-100"] = speeds
    corpora_[f"librispeech:{folder}/LibriSpeech/test-other"] = (1.0,)
    corpora_[f"speaker_folders:{folder}/speech/fsdd"] = (1.0,)
  for spec, speeds in corpora_.items():
    corpus = corpora.open_corpus(spec)
    if not any(corpus["text"]):
      letters = corpus.length * _LETTERS_PER_S // corpus.rate_hz
      text = ["x" * count for count in letters]
      columns = {**corpus.columns, "text": text}
      corpus = dataclasses.replace(corpus, columns=columns)
    examples = Utterances(
      corpus,
      tokenize=lambda text: [1 + ord(letter) for letter in text],
      sample_rate_hz=_RATE_HZ,
      seed=0,
      speeds=speeds,
      num_buckets=options.num_buckets,
      longest_s=options.longest_s,
    )
    samples, tokens, alone, num_shapes = measure(
      examples, batch_size=options.batch_size
    )
    is_met = samples < _MOST_WASTED and num_shapes <= _MOST_SHAPES
    target = f"under {_MOST_WASTED:.0%} in at most {_MOST_SHAPES} shapes"
    print(
      f"{spec}, {len(corpus)} utterances, speeds {speeds}, batches of"
      f" {options.batch_size}: padding {samples:.1%} of samples,"
      f" {tokens:.1%} of tokens ({alone:.1%} of samples in one bucket),"
      f" {num_shapes} shapes; {verdict(is_met, target)}",
      flush=True,
    )


def main():
  """Runs; an error is one line."""
  parser = Parser(__doc__)
  parser.add("corpus", help="Utterances with text as layout:where.")
  parser.add("batch_size", type=int, least=1, default=8, help="8 if not given.")
  parser.add("num_buckets", type=int, least=1, default=8, help="At most; 8.")
  parser.add("longest_s", type=float, help="Leave longer utterances out.")
  parser.add(
    "speeds", type=tuple, default=(0.9, 1.0, 1.1), help="Of each utterance."
  )
  parser.run(run)


if __name__ == "__main__":
  main()
