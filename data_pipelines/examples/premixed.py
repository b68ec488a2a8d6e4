"""Crops of mixtures that exist, and whole ones."""

from __future__ import annotations

import functools

import numpy as np
from absl import logging

from data_pipelines import sampling
from data_pipelines.crops import Tolerance, pad_to, read_row
from data_pipelines.examples.ingredients import check_positive
from data_pipelines.examples.protocols import Example
from data_pipelines.files import CorpusError
from data_pipelines.table import Corpus


class PremixedCrops:
  """Crops of mixtures that exist, all of them once per epoch, for training.

  An example has "mixture" float32 [T], "reference" float32 [S, T], "length"
  int32, and "noise" float32 [T] if the corpus has it.
  """

  def __init__(
    self,
    corpus: Corpus,
    *,
    crop_length: int,
    sample_rate_hz: int,
    seed: int,
    max_broken_files: int = 100,
  ):
    """Takes a pre-mixed corpus or an opened mixture list.

    Mixtures shorter than the crop are followed by zeros, and a warning says
    how many; `corpus.rows` can leave them out. Up to `max_broken_files` broken
    ones are replaced by the next.
    """
    check_positive(crop_length=crop_length, sample_rate_hz=sample_rate_hz)
    self._corpus = _check_premixed(corpus)
    crop_s = crop_length / sample_rate_hz
    if (short := (corpus.length < crop_s * corpus.rate_hz).sum()) > 0:
      logging.warning(
        "%d of %d mixtures are shorter than a crop of %g s and end in zeros",
        short,
        len(corpus),
        crop_s,
      )
    self._crop_length = crop_length
    self._sample_rate_hz = sample_rate_hz
    self._tolerance = Tolerance(max_broken_files)
    self.seed = seed
    self.epoch_size = len(corpus)
    self._draw = sampling.Blocks(
      lambda index: {
        "row": sampling.shuffle(index, size=len(corpus), seed=seed),
        "share": sampling.uniform(seed, index, _PREMIXED_START, 0),
      }
    )

  def read(self, index: int) -> Example:
    """A crop of a mixture and its parts."""
    drawn = self._draw(index)
    _, crop = self._tolerance.first_readable(
      self._corpus,
      sampling.following(int(drawn["row"]), len(self._corpus)),
      functools.partial(
        read_row,
        self._corpus,
        sample_rate_hz=self._sample_rate_hz,
        length=self._crop_length,
        share=float(drawn["share"]),
      ),
    )
    length = np.int32(crop.shape[-1])
    return _named(self._corpus, pad_to(crop, self._crop_length), length)


class PremixedWhole:
  """Whole mixtures, in the order of the corpus, for evaluation.

  An example has the arrays of `PremixedCrops`; its index is its row. Batches
  hold mixtures of one padded length, of which `buckets` are those that occur.
  Every mixture once: `batches(whole, batch_size=4, buckets=whole.buckets,
  num_examples=whole.epoch_size)`.
  """

  seed = 0

  def __init__(
    self, corpus: Corpus, *, sample_rate_hz: int, pad_s: float = 1.0
  ):
    """Takes a pre-mixed corpus or an opened mixture list.

    Batches end in zeros up to a multiple of `pad_s` seconds: a model is
    compiled once per padded length.
    """
    multiple = round(pad_s * sample_rate_hz)
    if multiple < 1:
      raise ValueError(f"pad_s is {pad_s:g}, expected at least one sample")
    self._corpus = _check_premixed(corpus)
    self._sample_rate_hz = sample_rate_hz
    length = corpus.length * sample_rate_hz // corpus.rate_hz
    self._length = np.maximum(length, 1)
    self.padded = dict.fromkeys(("mixture", "reference", "noise"), 1.0)
    self.epoch_size = len(corpus)
    padded = -(-self._length // multiple) * multiple
    self.buckets = tuple(np.unique(padded).tolist())

  def max_length(self, index: np.ndarray) -> np.ndarray:
    """Samples of examples without padding, [B]."""
    return self._length[index]

  def read(self, index: int) -> Example:
    """A mixture and its parts; an error if a file is broken."""
    length = int(self._length[index])
    crop = read_row(
      self._corpus, index, sample_rate_hz=self._sample_rate_hz, length=length
    )
    return _named(self._corpus, crop, np.int32(length))


# A stream of draws of its own, by the number of its counters.
_PREMIXED_START = 1


def _named(corpus: Corpus, crop: np.ndarray, length: np.int32) -> Example:
  """Stacked parts [P, T] by their names."""
  example = {
    "mixture": crop[0],
    "reference": crop[1 : 1 + corpus.num_sources],
    "length": length,
  }
  if "noise" in corpus.parts:
    example["noise"] = crop[-1]
  return example


def _check_premixed(corpus: Corpus) -> Corpus:
  if not corpus.is_premixed or not len(corpus):
    raise CorpusError(f"{corpus.title}: holds no mixtures")
  return corpus
