"""Kinds of examples: what is read for an index.

An example is a dict of arrays and a pure function of `(seed, index)`;
`batches.batches` makes batches of them. A new kind is a class with a `read`,
made from the draws of `sampling` and the reading of `crops`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from absl import logging

from data_pipelines import sampling
from data_pipelines.crops import Tolerance, pad_to, read_row
from data_pipelines.files import CorpusError
from data_pipelines.table import Corpus

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


class Mixtures:
  """Ingredients of mixtures, to be mixed where the model runs.

  An example has "sources" float32 [S, T], "length" int32 [S], "speaker" int32
  [S], and on request "noise" float32 [T] and "rir" float32 [S, R].

  The first source visits all utterances in a new order in each epoch of
  `epoch_size` examples. The others are drawn uniformly from the utterances of
  all other speakers. The next row replaces a broken file, which is reported.
  """

  def __init__(
    self,
    corpus: Corpus,
    *,
    num_sources: int,
    crop_length: int,
    sample_rate_hz: int,
    seed: int,
    speed_range: tuple[float, float] | None = None,
    noise: Corpus | None = None,
    rirs: Corpus | None = None,
    rir_length: int | None = None,
    weighting: str = "utterance",
    max_broken_files: int = 100,
  ):
    """Checks the options.

    Args:
      corpus: The utterances. Those shorter than the crop are followed by zeros;
        `corpus.rows` can leave them out.
      num_sources: Utterances in each example, each of another speaker.
      crop_length: Samples of each, at `sample_rate_hz`.
      sample_rate_hz: Rate that everything is resampled to.
      seed: Seed of every draw.
      speed_range: Slowest and fastest speed of a source, such as `(0.9, 1.1)`;
        pitch and formants move with it.
      noise: Noises; each example gets one, repeated if it is too short.
      rirs: RIRs; an example gets those of one room, different ones if there
        are enough. The first channel is read, or that of `open_corpus`.
      rir_length: Samples of each RIR, cut or followed by zeros. Resampling
        keeps the gain of a RIR.
      weighting: "utterance" draws each equally often, "duration" in
        proportion to how many crops it fills.
      max_broken_files: How many different files may be broken before an error;
        0 for evaluation, whose set must not change.
    """
    _check_positive(
      num_sources=num_sources,
      crop_length=crop_length,
      sample_rate_hz=sample_rate_hz,
    )
    if weighting not in ("utterance", "duration"):
      raise ValueError(
        f"weighting is {weighting!r}, expected 'utterance' or 'duration'"
      )
    if (rirs is None) != (rir_length is None):
      raise ValueError("rirs and rir_length are given together or not at all")
    if speed_range and not 0 < speed_range[0] <= speed_range[1]:
      raise ValueError(
        f"speed_range is {speed_range}, expected 0 < slowest <= fastest"
      )
    for name, other in (("noise", noise), ("rirs", rirs)):
      if other is not None and not len(other):
        raise CorpusError(f"the corpus given as {name} is empty")
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
    self.seed = seed
    self._corpus, self._noise = corpus, noise
    self._num_sources, self._crop_length = num_sources, crop_length
    self._speed_range = speed_range or (1.0, 1.0)
    self._read_crop = functools.partial(
      read_row, sample_rate_hz=sample_rate_hz, length=crop_length
    )
    crop_s = crop_length / sample_rate_hz if weighting == "duration" else None
    self._rows = sampling.Rows(corpus, seed=seed, seconds_per_draw=crop_s)
    self.epoch_size = self._rows.epoch_size
    self._draw = sampling.Blocks(self._draws)
    self._tolerance = Tolerance(max_broken_files)
    self._rirs = rirs and rirs.first_channel()
    if self._rirs is not None and rir_length is not None:
      self._rooms = sampling.Rooms(self._rirs, seed=seed)
      # RIRs are few and long: those in use are kept, at most 32 MiB. Errors
      # are not: a file that broke is replaced each time.
      self._read_rir = functools.lru_cache(max(2**23 // rir_length, 1))(
        functools.partial(_read_rir, self._rirs, rir_length, sample_rate_hz)
      )

  def _draws(self, index: np.ndarray) -> dict[str, np.ndarray]:
    """What some examples are made of; sources [B, S], noises [B]."""
    rows = np.empty((len(index), self._num_sources), dtype=np.int64)
    rows[:, 0] = self._rows.walk(index)
    for source in range(1, self._num_sources):
      rows[:, source] = self._rows.another_speaker(
        index, rows[:, :source], source
      )
    each = index[:, None], np.arange(self._num_sources)
    drawn = {
      "row": rows,
      "share": sampling.crop_share(self.seed, *each),
      "speed": sampling.speed(self.seed, *each, self._speed_range),
    }
    if self._noise is not None:
      size = len(self._noise)
      drawn["noise_row"] = sampling.noise_row(self.seed, index, size)
      drawn["noise_share"] = sampling.noise_share(self.seed, index)
    if self._rirs is not None:
      drawn["rir_row"] = self._rooms.draw(index, self._num_sources)
    return drawn

  def read(self, index: int) -> Example:
    """The ingredients of an example."""
    drawn = self._draw(index)
    rows = drawn["row"].copy()
    crops = [
      self._read_source(drawn, rows, source) for source in range(len(rows))
    ]
    example: Example = {
      "sources": np.stack([pad_to(c, self._crop_length) for c in crops]),
      "length": np.array([len(crop) for crop in crops], dtype=np.int32),
      "speaker": self._corpus.speaker[rows],
    }
    if self._noise is not None:
      example["noise"] = self._read_noise(drawn)
    if self._rirs is not None:
      rows = drawn["rir_row"].copy()
      rirs = [self._rir(rows, source) for source in range(len(rows))]
      example["rir"] = np.stack(rirs)
    return example

  def _read_source(self, drawn, rows: np.ndarray, source: int) -> np.ndarray:
    """The crop of a source; puts the row that was read into `rows`."""
    speaker = self._corpus.speaker
    others = set(speaker[np.delete(rows, source)].tolist())
    candidates = sampling.following(int(rows[source]), len(speaker))
    rows[source], crop = self._tolerance.first_readable(
      self._corpus,
      (row for row in candidates if speaker[row] not in others),
      functools.partial(
        self._read_crop,
        self._corpus,
        share=float(drawn["share"][source]),
        speed=float(drawn["speed"][source]),
      ),
    )
    return crop

  def _read_noise(self, drawn) -> np.ndarray:
    """A crop of a noise; a noise that is too short is repeated."""
    noise: Any = self._noise
    share = float(drawn["noise_share"])
    _, crop = self._tolerance.first_readable(
      noise,
      sampling.following(int(drawn["noise_row"]), len(noise)),
      functools.partial(self._read_crop, noise, share=share),
    )
    if len(crop) == self._crop_length:
      return crop
    turn = int(share * len(crop))
    return np.resize(np.roll(crop, -turn), self._crop_length)

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
    _check_positive(crop_length=crop_length, sample_rate_hz=sample_rate_hz)
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


def _check_positive(**options: int) -> None:
  for name, value in options.items():
    if value < 1:
      unit = " samples" if name == "crop_length" else ""
      raise ValueError(f"{name} is {value}{unit}, expected at least 1")


def _read_rir(
  rirs: Corpus, length: int, sample_rate_hz: int, row: int
) -> np.ndarray:
  """A RIR from its beginning, cut or followed by zeros."""
  rir = read_row(rirs, row, sample_rate_hz=sample_rate_hz, length=length)
  # A convolution has the same gain at any rate.
  rir = rir * np.float32(float(rirs.rate_hz[row]) / sample_rate_hz)
  return pad_to(rir, length)
