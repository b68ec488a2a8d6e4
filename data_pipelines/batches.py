"""Endless training batches and fixed evaluation batches, as NumPy.

A batch is a dict of arrays. Ingredients, to be mixed where the model runs:
"index" uint32 [B], "sources" float32 [B, S, T], "length" int32 [B, S],
"speaker" int32 [B, S], "mask" bool [B], and on request "noise" float32 [B, T]
and "rir" float32 [B, S, R].

Steps and examples are numbered over all hosts: step `n` holds the examples
`n * batch_size` and on, of which host `p` of `P` reads the `p`-th of `P` equal
parts. See `sampling` for what an example is made of, and `mixture_batches`
for corpora whose mixtures are files.
"""

from __future__ import annotations

import math

import numpy as np

from data_pipelines.ingredients import Ingredients
from data_pipelines.mixture_batches import (
  premixed_eval_batches,
  premixed_train_batches,
)
from data_pipelines.stream import Batch, Stream, StreamIterator, check_hosts
from data_pipelines.table import Corpus

__all__ = [
  "eval_batches",
  "premixed_eval_batches",
  "premixed_train_batches",
  "train_batches",
]


def train_batches(
  corpus: Corpus,
  *,
  batch_size: int,
  num_sources: int,
  crop_length: int,
  sample_rate_hz: int,
  seed: int,
  start_step: int = 0,
  process_index: int = 0,
  process_count: int = 1,
  speed_range: tuple[float, float] | None = None,
  noise: Corpus | None = None,
  rirs: Corpus | None = None,
  rir_length: int | None = None,
  weighting: str = "utterance",
  max_broken_files: int = 100,
  num_threads: int | None = None,
) -> StreamIterator:
  """Endless batches of the ingredients of mixtures.

  A file that turns out to be broken while training is reported by name and
  its place is taken by another utterance, drawn in the same stateless way;
  see `max_broken_files`.

  Args:
    corpus: The utterances, of at least `num_sources` speakers. An utterance
      shorter than the crop is followed by zeros; leave out short ones with
      `corpus.rows(corpus.length >= ...)` if the model minds.
    batch_size: Examples of a step, over all hosts.
    num_sources: Utterances in each example, each of another speaker.
    crop_length: Samples of each, at `sample_rate_hz`.
    sample_rate_hz: Rate that everything is resampled to.
    seed: Seed of every draw.
    start_step: The first step, for going on with a run.
    process_index: Number of this host.
    process_count: Number of hosts.
    speed_range: Slowest and fastest speed at which a source is played, such
      as `(0.9, 1.1)`; pitch and formants move with it.
    noise: Noises; each example gets one, repeated if it is too short.
    rirs: Room responses; the sources of an example get those of one room.
    rir_length: Samples of each response at `sample_rate_hz`, cut or followed
      by zeros; needed with `rirs`. Resampling keeps the gain of a response.
    weighting: "utterance" draws each equally often, "duration" in proportion
      to how many crops it fills.
    max_broken_files: How many different files may turn out broken before the
      run is stopped; 0 stops at the first. A response that is broken is
      replaced by another of its room, where there is one.
    num_threads: Batches read at a time; None is one a core.

  Returns:
    The batches from `start_step` on.

  Raises:
    CorpusError: If the corpus has too few speakers; while iterating, if too
      many files are broken.
    ValueError: If an option is out of range.

  Example:
    >>> from data_pipelines.voices import make_voices
    >>> batches = train_batches(
    ...   make_voices(num_speakers=3, utterances_per_speaker=2),
    ...   batch_size=4,
    ...   num_sources=2,
    ...   crop_length=8000,
    ...   sample_rate_hz=8000,
    ...   seed=0,
    ... )
    >>> next(batches)["sources"].shape
    (4, 2, 8000)
    >>> batches.close()
  """
  ingredients = Ingredients(
    corpus,
    num_sources=num_sources,
    crop_length=crop_length,
    sample_rate_hz=sample_rate_hz,
    seed=seed,
    speed_range=speed_range,
    noise=noise,
    rirs=rirs,
    rir_length=rir_length,
    weighting=weighting,
    max_broken_files=max_broken_files,
  )
  local = check_hosts(batch_size, process_index, process_count)
  if start_step < 0:
    raise ValueError(f"start_step is {start_step}, expected 0 or more")

  def read(step: int) -> Batch:
    first = step * batch_size + process_index * local
    return ingredients.read(np.arange(first, first + local))

  return iter(
    Stream(read, first=start_step, stop=None, num_threads=num_threads)
  )


def eval_batches(
  corpus: Corpus,
  *,
  num_examples: int,
  batch_size: int,
  num_sources: int,
  crop_length: int,
  sample_rate_hz: int,
  seed: int,
  process_index: int = 0,
  process_count: int = 1,
  speed_range: tuple[float, float] | None = None,
  noise: Corpus | None = None,
  rirs: Corpus | None = None,
  rir_length: int | None = None,
  weighting: str = "utterance",
  max_broken_files: int = 0,
  num_threads: int | None = None,
) -> Stream:
  """A fixed set of examples, the same at each iteration.

  All batches have the same size. The last is filled up with examples that
  were there before, for which "mask" is False.

  Args:
    corpus: As for `train_batches`, and so are the options not listed here.
    num_examples: Examples of the set, over all hosts.
    batch_size: Examples of a batch, over all hosts.
    num_sources: Utterances in each example.
    crop_length: Samples of each.
    sample_rate_hz: Rate that everything is resampled to.
    seed: Seed of every draw.
    process_index: Number of this host.
    process_count: Number of hosts.
    speed_range: Slowest and fastest speed.
    noise: Noises.
    rirs: Room responses.
    rir_length: Samples of each response.
    weighting: "utterance" or "duration".
    max_broken_files: By default a broken file is an error, so that the set
      never changes unnoticed.
    num_threads: Batches read at a time.

  Returns:
    The batches, to be iterated as often as wanted, with a length.

  Raises:
    CorpusError: As for `train_batches`.
    ValueError: If an option is out of range.
  """
  ingredients = Ingredients(
    corpus,
    num_sources=num_sources,
    crop_length=crop_length,
    sample_rate_hz=sample_rate_hz,
    seed=seed,
    speed_range=speed_range,
    noise=noise,
    rirs=rirs,
    rir_length=rir_length,
    weighting=weighting,
    max_broken_files=max_broken_files,
  )
  local = check_hosts(batch_size, process_index, process_count)
  if num_examples < 1:
    raise ValueError(f"num_examples is {num_examples}, expected at least 1")

  def read(step: int) -> Batch:
    first = step * batch_size + process_index * local
    index = np.arange(first, first + local)
    # Real examples fill the last batch: silence is an edge case for metrics.
    batch = ingredients.read(index % num_examples)
    batch["mask"] = index < num_examples
    return batch

  stop = math.ceil(num_examples / batch_size)
  return Stream(read, first=0, stop=stop, num_threads=num_threads)
