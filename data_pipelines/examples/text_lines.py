"""Lines of text, for language models."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterable, Iterator

import numpy as np
from absl import logging

from data_pipelines import sampling
from data_pipelines.buckets import bucket_lengths
from data_pipelines.examples.protocols import Example
from data_pipelines.examples.texts import Tokenize, Tokens
from data_pipelines.files import CorpusError


class TextLines:
  """Lines of text as tokens, all of them once per epoch in a new order.

  An example has "tokens" int32 [U] and "tokens_length" int32. `buckets` are
  the lengths, in tokens, for `batches(..., buckets=...)`.
  """

  def __init__(
    self,
    texts: Iterable[str],
    *,
    tokenize: Tokenize,
    seed: int,
    num_buckets: int = 8,
    most_tokens: int | None = None,
  ):
    """Makes all lines tokens, which stay in memory: four bytes for each.

    Args:
      texts: The lines, such as `read_lines` or a corpus's column "text". Empty
        ones are left out.
      tokenize: From a text to its tokens, numbers above 0.
      seed: Seed of the order.
      num_buckets: How many lengths a batch may have.
      most_tokens: Lines with more are left out; None keeps all. One warning
        counts what is left out.
    """
    self._tokens = Tokens(texts, tokenize)
    length = self._tokens.length
    is_long = length > (most_tokens or np.inf)
    self._kept = np.flatnonzero((length > 0) & ~is_long)
    if len(self._kept) < len(length):
      message = (
        f"of {len(length)} lines of text, {(length == 0).sum()} are empty and"
        f" {is_long.sum()} too long"
      )
      if not len(self._kept):
        raise CorpusError(f"{message}: none is left")
      logging.warning("%s: they are left out", message)
    if not len(self._kept):
      raise CorpusError("there is no line of text")
    self.seed = seed
    self.epoch_size = len(self._kept)
    self.buckets = bucket_lengths(length[self._kept], num_buckets)
    self.padded = {"tokens": 1.0}
    self._draw = sampling.Blocks(lambda index: {"line": self._walk(index)})

  def _walk(self, index: np.ndarray) -> np.ndarray:
    size = self.epoch_size
    return self._kept[sampling.shuffle(index, size=size, seed=self.seed)]

  def max_length(self, index: np.ndarray) -> np.ndarray:
    """The tokens of each example, int64 [B]."""
    return self._tokens.length[self._walk(index)]

  def read(self, index: int) -> Example:
    """The tokens of a line."""
    tokens = self._tokens[int(self._draw(index)["line"])]
    return {"tokens": tokens, "tokens_length": np.int32(len(tokens))}


def read_lines(path: str | os.PathLike[str]) -> Iterator[str]:
  """The lines of a UTF-8 text file, also of one that ends in `.gz`.

  Args:
    path: The file, one sentence a line.

  Yields:
    Each line without blanks at its ends.

  Raises:
    CorpusError: If the file cannot be read.
  """
  opened = gzip.open if os.fspath(path).endswith(".gz") else open
  try:
    with opened(path, "rt", encoding="utf-8-sig") as file:
      for line in file:
        yield line.strip()
  except (OSError, EOFError, UnicodeDecodeError) as error:
    raise CorpusError(f"{path}: cannot be read ({error})") from None
