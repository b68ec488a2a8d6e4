"""Whole utterances with their text, for recognisers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_pipelines import sampling
from data_pipelines.crops import Tolerance
from data_pipelines.examples.protocols import Example
from data_pipelines.examples.texts import Spoken, Tokenize
from data_pipelines.table import Corpus


class Utterances:
  """Whole utterances with their text as tokens.

  An example has "signal" float32 [T], "signal_length" int32, "tokens" int32
  [U], "tokens_length" int32 and "speaker" int32. `buckets` are lengths that
  waste little padding: `batches(utterances, buckets=utterances.buckets, ...)`.

  An epoch has every utterance at every speed, in a new order.
  """

  def __init__(
    self,
    corpus: Corpus,
    *,
    tokenize: Tokenize,
    sample_rate_hz: int,
    seed: int,
    speeds: Sequence[float] = (1.0,),
    num_buckets: int = 8,
    longest_s: float | None = None,
    max_broken_files: int = 100,
  ):
    """Checks the options, and makes all texts tokens.

    Args:
      corpus: The utterances, with a column "text". Those without text are left
        out; a warning counts them.
      tokenize: From a text to its tokens, numbers above 0.
      sample_rate_hz: Rate that everything is resampled to.
      seed: Seed of every draw.
      speeds: Speeds of each utterance, such as `(0.9, 1.0, 1.1)`; pitch and
        formants move with it.
      num_buckets: How many lengths a batch may have.
      longest_s: Utterances that are longer at the slowest speed are left out,
        and counted by the warning; None keeps all.
      max_broken_files: How many different files may be broken before an error;
        0 for evaluation, whose set must not change. Another utterance of the
        bucket takes the place of a broken one.
    """
    self._spoken = Spoken(
      corpus,
      tokenize=tokenize,
      sample_rate_hz=sample_rate_hz,
      speeds=speeds,
      num_buckets=num_buckets,
      longest_s=longest_s,
    )
    self._rows = sampling.Rows(self._spoken.corpus, seed=seed)
    self._draw = sampling.Blocks(lambda i: {"row": self._rows.walk(i)})
    self._tolerance = Tolerance(max_broken_files)
    self.seed = seed
    self.epoch_size = self._rows.epoch_size
    self.buckets = self._spoken.buckets
    self.padded = {"signal": 1.0, "tokens": self._spoken.tokens_per_sample}

  def max_length(self, index: np.ndarray) -> np.ndarray:
    """The shortest bucket that each example fits in, int64 [B]."""
    return self._spoken.length[self._rows.walk(index)]

  def read(self, index: int) -> Example:
    """An utterance and its tokens."""
    spoken = self._spoken
    row = int(self._draw(index)["row"])
    fitting = int(spoken.bucket_size[spoken.bucket[row]])
    row, signal = self._tolerance.first_readable(
      spoken.corpus, sampling.following(row, fitting), spoken.read
    )
    tokens = spoken.tokens(row)
    return {
      "signal": signal,
      "signal_length": np.int32(len(signal)),
      "tokens": tokens,
      "tokens_length": np.int32(len(tokens)),
      "speaker": spoken.corpus.speaker[row],
    }
