"""What several kinds of examples are made of: speakers, noises, rooms."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import logging

from data_pipelines import sampling
from data_pipelines.crops import Tolerance, pad_to, read_row
from data_pipelines.examples.protocols import Example
from data_pipelines.files import CorpusError
from data_pipelines.table import Corpus


def check_positive(**options: int) -> None:
  """Raises ValueError where an option is below 1."""
  for name, value in options.items():
    if value < 1:
      unit = " samples" if name == "crop_length" else ""
      raise ValueError(f"{name} is {value}{unit}, expected at least 1")


def check_utterances(
  corpus: Corpus, *, num_sources: int, sample_rate_hz: int
) -> None:
  """Checks that there are enough speakers; warns of low sample rates."""
  if len(corpus) and len(corpus.speakers) < num_sources:
    raise CorpusError(
      f"{corpus.title} has {len(corpus.speakers)} speakers, too few for"
      f" mixtures of {num_sources} different ones"
    )
  if (low := (corpus.rate_hz < sample_rate_hz).sum()) > 0:
    logging.warning(
      "%d of %d utterances have a rate below %d Hz, so no high frequencies",
      low,
      len(corpus),
      sample_rate_hz,
    )


def read_source(
  corpus: Corpus,
  rows: np.ndarray,
  source: int,
  *,
  read: Callable[[int], np.ndarray],
  tolerance: Tolerance,
  size: int | None = None,
) -> np.ndarray:
  """What `read` gives for the row of a source; puts that row into `rows`.

  The next of the first `size` rows replaces a broken one, if none of the other
  sources has its speaker.
  """
  speaker = corpus.speaker
  others = set(speaker[np.delete(rows, source)].tolist())
  candidates = sampling.following(int(rows[source]), size or len(speaker))
  rows[source], samples = tolerance.first_readable(
    corpus, (row for row in candidates if speaker[row] not in others), read
  )
  return samples


class Background:
  """The noise and the room of each example: "noise", "rir", "noise_rir"."""

  def __init__(
    self,
    *,
    num_sources: int,
    sample_rate_hz: int,
    seed: int,
    tolerance: Tolerance,
    noise: Corpus | None = None,
    rirs: Corpus | None = None,
    rir_length: int | None = None,
    noise_rir: bool = False,
  ):
    """Checks the options, which are those of `Mixtures`."""
    if (rirs is None) != (rir_length is None):
      raise ValueError("rirs and rir_length are given together or not at all")
    if noise_rir and (noise is None or rirs is None):
      raise ValueError("noise_rir needs a noise and rirs")
    for name, other in (("noise", noise), ("rirs", rirs)):
      if other is not None and not len(other):
        raise CorpusError(f"the corpus given as {name} is empty")
    self._seed, self._tolerance, self._noise = seed, tolerance, noise
    self._sample_rate_hz = sample_rate_hz
    self._num_sources, self._noise_rir = num_sources, noise_rir
    self._rirs = rirs and rirs.first_channel()
    if self._rirs is not None and rir_length is not None:
      self._rooms = sampling.Rooms(self._rirs, seed=seed)
      # RIRs are few and long: those in use are kept, at most 32 MiB. Errors
      # are not: a file that broke is replaced each time.
      self._read_rir = functools.lru_cache(max(2**23 // rir_length, 1))(
        functools.partial(_read_rir, self._rirs, rir_length, sample_rate_hz)
      )

  def draw(self, index: np.ndarray) -> dict[str, np.ndarray]:
    """Rows of noises [B] and RIRs [B, S], and where noises begin."""
    drawn = {}
    if self._noise is not None:
      size = len(self._noise)
      drawn["noise_row"] = sampling.noise_row(self._seed, index, size)
      drawn["noise_share"] = sampling.noise_share(self._seed, index)
    if self._rirs is not None:
      num = self._num_sources + self._noise_rir
      drawn["rir_row"] = self._rooms.draw(index, num)
    return drawn

  def read(self, drawn: dict[str, Any], length: int) -> Example:
    """The arrays of an example, its noise of a length."""
    example: Example = {}
    if self._noise is not None:
      example["noise"] = self._read_noise(drawn, length)
    if self._rirs is not None:
      rows = drawn["rir_row"].copy()
      rirs = [self._rir(rows, source) for source in range(len(rows))]
      if self._noise_rir:
        example["noise_rir"] = rirs.pop()
      example["rir"] = np.stack(rirs)
    return example

  def _read_noise(self, drawn, length: int) -> np.ndarray:
    """A crop of a noise; a noise that is too short is repeated."""
    noise: Any = self._noise
    share = float(drawn["noise_share"])
    _, crop = self._tolerance.first_readable(
      noise,
      sampling.following(int(drawn["noise_row"]), len(noise)),
      functools.partial(
        read_row,
        noise,
        sample_rate_hz=self._sample_rate_hz,
        length=length,
        share=share,
      ),
    )
    if len(crop) == length:
      return crop
    turn = int(share * len(crop))
    return np.resize(np.roll(crop, -turn), length)

  def _rir(self, rows: np.ndarray, source: int) -> np.ndarray:
    """The RIR of a source; puts the row that was read into `rows`."""
    room, first = self._rooms.room, int(rows[source])
    others = np.delete(rows, source).tolist()

    def candidates():
      yield first
      # The next of the same room, first those that no other source has.
      yield from sorted(
        list(sampling.following(first, len(room)))[1:],
        key=lambda row: (room[row] != room[first], row in others),
      )

    rirs: Any = self._rirs
    rows[source], rir = self._tolerance.first_readable(
      rirs, candidates(), self._read_rir
    )
    return rir


def _read_rir(
  rirs: Corpus, length: int, sample_rate_hz: int, row: int
) -> np.ndarray:
  """A RIR from its beginning, cut or followed by zeros."""
  rir = read_row(rirs, row, sample_rate_hz=sample_rate_hz, length=length)
  # A convolution has the same gain at any rate.
  rir = rir * np.float32(float(rirs.rate_hz[row]) / sample_rate_hz)
  return pad_to(rir, length)
