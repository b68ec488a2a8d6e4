"""Which mixtures of a list or a corpus are taken, and how much of each."""

import dataclasses
from typing import Any

import numpy as np

from data_pipelines import mixture_lists
from data_pipelines.mixture_batches import premixed_eval_batches

#: A model is compiled for every length there is: some two seconds for each.
MOST_LENGTHS = 100
_MULTIPLES_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


@dataclasses.dataclass(frozen=True)
class Chosen:
  """Some rows of mixtures that exist already, and how they are read.

  Attributes:
    mixtures: A `corpora.PremixedCorpus` or a `mixture_lists.OpenedList`.
    rows: Which of its mixtures.
    sample_rate_hz: Rate that they are read at.
    multiple: They are cut down to a multiple of so many samples.
    crop: Or all to this length, in samples, if it is not None.
  """

  mixtures: Any
  rows: np.ndarray
  sample_rate_hz: int
  multiple: int = 1
  crop: int | None = None

  @property
  def samples(self) -> np.ndarray:
    """Samples of each of them, before they are cut."""
    return samples_of(self.mixtures, self.sample_rate_hz)[self.rows]

  def batches(self, batch_size: int) -> Any:
    """Batches whose "index" counts in `rows`, those of one length together."""
    return premixed_eval_batches(
      take(self.mixtures, self.rows),
      batch_size=batch_size,
      sample_rate_hz=self.sample_rate_hz,
      length_multiple=self.crop or self.multiple,
      max_length=self.crop,
    )

  def caption(self, kept: int) -> str:
    """What was left out, in a line.

    Args:
      kept: Samples that were not, of all mixtures together.

    Returns:
      A sentence or two.
    """
    total, rate = int(self.samples.sum()), self.sample_rate_hz
    if self.crop is not None:
      short = samples_of(self.mixtures, rate) < self.crop
      words = f"The first {self.crop / rate:g} s of each mixture"
      if short.any():
        words += f"; {short.sum()} of {len(short)} are shorter and left out"
      return f"{words}."
    if kept == total:
      return "Whole mixtures."
    return (
      f"Mixtures are cut down to multiples of {self.multiple / rate:g} s, "
      f"which leaves out {1 - kept / total:.2%} of the audio."
    )


def samples_of(mixtures: Any, sample_rate_hz: int) -> np.ndarray:
  """Samples of each mixture of a list or a corpus at some rate."""
  return mixtures.length * sample_rate_hz // mixtures.rate_hz


def choose_rows(
  samples: np.ndarray, *, num_examples: int | None = None, crop: int = 1
) -> np.ndarray:
  """Every so-manieth mixture, so that all parts of a list have their share.

  Args:
    samples: Samples of each mixture.
    num_examples: How many; all there are if None or more than those.
    crop: Shorter ones are left out.

  Returns:
    Rows, in order; none if all are shorter.

  Example:
    >>> choose_rows(np.array([9, 9, 2, 9, 9]), num_examples=2, crop=5).tolist()
    [0, 3]
  """
  rows = np.flatnonzero(samples >= crop)
  count = min(num_examples or len(rows), len(rows))
  return rows[np.arange(count) * len(rows) // max(count, 1)]


def finest_multiple(samples: np.ndarray, sample_rate_hz: int) -> int:
  """What to cut mixtures to, so that there are few lengths.

  Args:
    samples: Samples of each mixture.
    sample_rate_hz: Their rate.

  Returns:
    1, which cuts nothing, where there are at most `MOST_LENGTHS` lengths;
    else the least that leaves so many, up to a second.

  Example:
    >>> finest_multiple(np.arange(8000, 9000), 8000)
    80
  """
  multiples = [1, *(round(s * sample_rate_hz) for s in _MULTIPLES_S)]
  for multiple in multiples:
    if len(np.unique(samples // multiple)) <= MOST_LENGTHS:
      return multiple
  return multiples[-1]


def take(mixtures: Any, rows: np.ndarray) -> Any:
  """A list or a corpus of some mixtures only.

  Args:
    mixtures: A `corpora.PremixedCorpus` or a `mixture_lists.OpenedList`.
    rows: Which of them.

  Returns:
    The same of those.
  """
  if isinstance(mixtures, mixture_lists.OpenedList):
    return dataclasses.replace(
      mixtures, mixtures=_rows(mixtures.mixtures, rows)
    )
  return _rows(mixtures, rows)


def _rows(table, rows):
  """A table with some of its rows."""
  columns = {
    field.name: value[rows]
    for field in dataclasses.fields(table)
    if isinstance(value := getattr(table, field.name), np.ndarray)
  }
  return dataclasses.replace(table, **columns)
