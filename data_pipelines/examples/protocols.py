"""What `batches` asks of examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

Example = dict[str, Any]


class Examples(Protocol):
  """What `batches` reads from."""

  def read(self, index: int) -> Example:
    """The arrays of an example, without "index" and "mask"; thread-safe."""
    ...


class BucketedExamples(Examples, Protocol):
  """Examples of different length, for `batches(..., buckets=...)`."""

  seed: int  # Of the order of batches.
  epoch_size: int
  # Arrays that are padded at the end, and how many of their samples one sample
  # of the bucket is worth: 1 for waveforms, 200 / 16000 for features at 200 Hz
  # beside waveforms at 16 kHz.
  padded: Mapping[str, float]

  def max_length(self, index: np.ndarray) -> np.ndarray:
    """The shortest bucket that all arrays of an example fit in, int64 [B].

    Each epoch has the same lengths.
    """
    ...
