"""Reads what the mixtures of a batch will be made of."""

from __future__ import annotations

import functools

import numpy as np
from absl import logging

from data_pipelines.crops import Tolerance, read_crop
from data_pipelines.sampling import Recipe, Sampler
from data_pipelines.stream import Batch
from data_pipelines.table import Corpus


class Ingredients:
  """Reads the ingredients of examples by number."""

  def __init__(
    self,
    corpus: Corpus,
    *,
    num_sources: int,
    crop_length: int,
    sample_rate_hz: int,
    seed: int,
    speed_range: tuple[float, float] | None,
    noise: Corpus | None,
    rirs: Corpus | None,
    rir_length: int | None,
    weighting: str,
    max_broken_files: int,
  ):
    """Checks the options; they are those of `batches.train_batches`."""
    for name, value in (
      ("crop_length", crop_length),
      ("sample_rate_hz", sample_rate_hz),
    ):
      if value < 1:
        raise ValueError(f"{name} is {value}, expected at least 1")
    if weighting not in ("utterance", "duration"):
      raise ValueError(
        f"weighting is {weighting!r}, expected 'utterance' or 'duration'"
      )
    if (rirs is None) != (rir_length is None):
      raise ValueError("rirs and rir_length are given together or not at all")
    crop_s = crop_length / sample_rate_hz
    self._sampler = Sampler(
      corpus,
      num_sources=num_sources,
      seed=seed,
      speed_range=speed_range,
      noise=noise,
      rirs=rirs,
      seconds_per_draw=crop_s if weighting == "duration" else None,
    )
    if (low := (corpus.rate_hz < sample_rate_hz).sum()) > 0:
      logging.warning(
        "%d of %d utterances have a rate below %d Hz and nothing above half"
        " their own rate",
        low,
        len(corpus),
        sample_rate_hz,
      )
    self._corpus, self._noise, self._rirs = corpus, noise, rirs
    self._crop_length = crop_length
    self._sample_rate_hz = sample_rate_hz
    self._tolerance = Tolerance(max_broken_files)
    if rirs is not None and rir_length is not None:
      # Rooms are few and long: keep those in use, at most 32 MiB.
      # An error is not kept: a file that broke is replaced each time.
      self._read_response = functools.lru_cache(max(2**23 // rir_length, 1))(
        functools.partial(_read_response, rirs, rir_length, sample_rate_hz)
      )

  def read(self, index: np.ndarray) -> Batch:
    """The batch of some examples."""
    recipe = self._sampler.draw(index)
    num_examples, num_sources = recipe.row.shape
    sources = np.zeros(
      (num_examples, num_sources, self._crop_length), dtype=np.float32
    )
    length = np.zeros((num_examples, num_sources), dtype=np.int32)
    rows = recipe.row.copy()
    for example, source in np.ndindex(rows.shape):
      crop, rows[example, source] = self._source(recipe, rows, example, source)
      sources[example, source, : len(crop)] = crop
      length[example, source] = len(crop)
    batch = {
      "index": (recipe.index % 2**32).astype(np.uint32),
      "sources": sources,
      "length": length,
      "speaker": self._corpus.speaker[rows],
      "mask": np.ones(num_examples, dtype=bool),
    }
    if self._noise is not None:
      batch["noise"] = np.stack(
        [
          self._background(self._noise, int(row), float(share))
          for row, share in zip(
            recipe.noise_row, recipe.noise_start, strict=True
          )
        ]
      )
    if self._rirs is not None:
      batch["rir"] = np.stack(
        [
          [
            self._response(self._rirs, int(i), rows, source)
            for source in range(num_sources)
          ]
          for i, rows in zip(recipe.index, recipe.rir_row.copy(), strict=True)
        ]
      )
    return batch

  def _source(self, recipe: Recipe, rows, example: int, source: int):
    """The crop of a source, and the row that it was read from at last."""
    corpus = self._corpus
    row = int(rows[example, source])
    share = float(recipe.start[example, source])
    speed = float(recipe.speed[example, source])

    def read(attempt):
      nonlocal row, share, speed
      if attempt:
        row, share, speed = self._sampler.redraw(
          rows, recipe.index, example, source, attempt
        )
      return read_crop(
        functools.partial(corpus.read, row),
        int(corpus.length[row]),
        rate_hz=float(corpus.rate_hz[row]) * speed,
        target_rate_hz=self._sample_rate_hz,
        length=self._crop_length,
        share=share,
      )

    crop = self._tolerance.first_readable(read, lambda _: corpus.path[row])
    return crop, row

  def _background(self, noise: Corpus, first: int, share: float) -> np.ndarray:
    """A crop of a noise; a noise that is too short is repeated."""
    row = first

    def read(attempt):
      nonlocal row
      row = (first + attempt) % len(noise)
      return read_crop(
        functools.partial(noise.read, row),
        int(noise.length[row]),
        rate_hz=float(noise.rate_hz[row]),
        target_rate_hz=self._sample_rate_hz,
        length=self._crop_length,
        share=share,
      )

    crop = self._tolerance.first_readable(read, lambda _: noise.path[row])
    if len(crop) == self._crop_length:
      return crop
    turn = int(share * len(crop))
    return np.resize(np.roll(crop, -turn), self._crop_length)

  def _response(
    self, rirs: Corpus, index: int, rows: np.ndarray, source: int
  ) -> np.ndarray:
    """The room response of a source; `rows` then says which was read."""
    row = int(rows[source])

    def read(attempt):
      nonlocal row
      if attempt:
        row = self._sampler.redraw_response(rows, index, source, attempt)
      return self._read_response(row)

    response = self._tolerance.first_readable(read, lambda _: rirs.path[row])
    rows[source] = row
    return response


def _read_response(
  rirs: Corpus, length: int, sample_rate_hz: int, row: int
) -> np.ndarray:
  """A room response from its beginning, cut or followed by zeros."""
  rate_hz = float(rirs.rate_hz[row])
  response = read_crop(
    functools.partial(rirs.read, row),
    int(rirs.length[row]),
    rate_hz=rate_hz,
    target_rate_hz=sample_rate_hz,
    length=length,
    share=0.0,
  )
  # Fewer samples a second sum to less: scaled so that a convolution has the
  # same gain at any rate.
  response = response * np.float32(rate_hz / sample_rate_hz)
  return np.pad(response, (0, length - len(response)))
