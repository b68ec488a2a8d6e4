"""Whole utterances with their texts, to be mixed where the model runs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from data_pipelines import sampling
from data_pipelines.crops import Tolerance, pad_to
from data_pipelines.examples.ingredients import Background, read_source
from data_pipelines.examples.protocols import Example
from data_pipelines.examples.texts import Spoken, Tokenize
from data_pipelines.table import Corpus


class UtteranceMixtures:
  """Ingredients of mixtures of whole utterances, with the text of each.

  An example has "sources" float32 [S, T], "length" int32 [S], "tokens" int32
  [S, U], "tokens_length" int32 [S], "speaker" int32 [S], and on request "noise"
  float32 [T], "rir" float32 [S, R] and "noise_rir" float32 [R]. No utterance is
  ever cut. `buckets` are the lengths for `batches(..., buckets=...)`.

  The first source visits every utterance at every speed once per epoch, in a
  new order. The others are drawn uniformly from the utterances of all other
  speakers that fit into the same bucket.
  """

  def __init__(
    self,
    corpus: Corpus,
    *,
    num_sources: int,
    tokenize: Tokenize,
    sample_rate_hz: int,
    seed: int,
    speeds: Sequence[float] = (1.0,),
    num_buckets: int = 8,
    longest_s: float | None = None,
    room: float = 1.0,
    noise: Corpus | None = None,
    rirs: Corpus | None = None,
    rir_length: int | None = None,
    noise_rir: bool = False,
    max_broken_files: int = 100,
  ):
    """Checks the options, and makes all texts tokens.

    Args:
      corpus: As for `Utterances`.
      num_sources: Utterances in each example, each of another speaker.
      tokenize: As for `Utterances`.
      sample_rate_hz: As for `Utterances`.
      seed: As for `Utterances`.
      speeds: As for `Utterances`.
      num_buckets: As for `Utterances`.
      longest_s: As for `Utterances`.
      room: T as a multiple of the longest utterance of a bucket. 1 is enough
        where all speakers begin at once; `num_sources` and a little for pauses,
        where they may speak in turn.
      noise: As for `Mixtures`.
      rirs: As for `Mixtures`.
      rir_length: As for `Mixtures`.
      noise_rir: As for `Mixtures`.
      max_broken_files: As for `Utterances`.
    """
    if room < 1:
      raise ValueError(f"room is {room:g}, expected at least 1")
    self._spoken = Spoken(
      corpus,
      tokenize=tokenize,
      sample_rate_hz=sample_rate_hz,
      speeds=speeds,
      num_buckets=num_buckets,
      longest_s=longest_s,
      num_sources=num_sources,
    )
    self._tolerance = Tolerance(max_broken_files)
    self._background = Background(
      num_sources=num_sources,
      sample_rate_hz=sample_rate_hz,
      seed=seed,
      tolerance=self._tolerance,
      noise=noise,
      rirs=rirs,
      rir_length=rir_length,
      noise_rir=noise_rir,
    )
    self.seed = seed
    self._num_sources, self._room = num_sources, room
    spoken = self._spoken.corpus
    # Rows are sorted by length: what fits into a bucket are the first ones.
    speakers = dataclasses.replace(spoken, columns={"speaker": spoken.speaker})
    self._rows = [
      sampling.Rows(speakers.rows(slice(size)), seed=seed)
      for size in self._spoken.bucket_size
    ]
    self._draw = sampling.Blocks(self._draws)
    self.epoch_size = self._rows[-1].epoch_size
    self.buckets = tuple(math.ceil(room * n) for n in self._spoken.buckets)
    per_sample = self._spoken.tokens_per_sample / room
    self.padded = {"sources": 1.0, "noise": 1.0, "tokens": per_sample}

  def max_length(self, index: np.ndarray) -> np.ndarray:
    """The shortest bucket that each example fits in, int64 [B]."""
    length = self._spoken.length[self._rows[-1].walk(index)]
    return np.ceil(self._room * length).astype(np.int64)

  def _draws(self, index: np.ndarray) -> dict[str, np.ndarray]:
    """Rows of the sources [B, S], and the background."""
    rows = np.empty((len(index), self._num_sources), dtype=np.int64)
    rows[:, 0] = self._rows[-1].walk(index)
    bucket = self._spoken.bucket[rows[:, 0]]
    for b in np.unique(bucket):
      same = bucket == b
      for source in range(1, self._num_sources):
        rows[same, source] = self._rows[b].another_speaker(
          index[same], rows[same, :source], source
        )
    return {"row": rows} | self._background.draw(index)

  def read(self, index: int) -> Example:
    """The ingredients of an example."""
    drawn, spoken = self._draw(index), self._spoken
    rows = drawn["row"].copy()
    bucket = spoken.bucket[rows[0]]
    signals = [
      read_source(
        spoken.corpus,
        rows,
        source,
        read=spoken.read,
        tolerance=self._tolerance,
        size=int(spoken.bucket_size[bucket]),
      )
      for source in range(len(rows))
    ]
    tokens = [spoken.tokens(row) for row in rows]
    longest, most = (max(map(len, parts)) for parts in (signals, tokens))
    example: Example = {
      "sources": np.stack([pad_to(signal, longest) for signal in signals]),
      "length": np.array([len(signal) for signal in signals], np.int32),
      "tokens": np.stack([pad_to(t, most) for t in tokens]),
      "tokens_length": np.array([len(t) for t in tokens], np.int32),
      "speaker": spoken.corpus.speaker[rows],
    }
    return example | self._background.read(drawn, self.buckets[bucket])
