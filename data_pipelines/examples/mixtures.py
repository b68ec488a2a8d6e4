"""Crops of utterances, to be mixed where the model runs."""

from __future__ import annotations

import functools

import numpy as np

from data_pipelines import sampling
from data_pipelines.crops import Tolerance, pad_to, read_row
from data_pipelines.examples.ingredients import (
  Background,
  check_positive,
  check_utterances,
  read_source,
)
from data_pipelines.examples.protocols import Example
from data_pipelines.table import Corpus


class Mixtures:
  """Ingredients of mixtures, to be mixed where the model runs.

  An example has "sources" float32 [S, T], "length" int32 [S], "speaker" int32
  [S], and on request "noise" float32 [T], "rir" float32 [S, R] and "noise_rir"
  float32 [R].

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
    noise_rir: bool = False,
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
      noise_rir: Whether the noise gets a RIR of the room too.
      weighting: "utterance" draws each equally often, "duration" in
        proportion to how many crops it fills.
      max_broken_files: How many different files may be broken before an error;
        0 for evaluation, whose set must not change.
    """
    check_positive(
      num_sources=num_sources,
      crop_length=crop_length,
      sample_rate_hz=sample_rate_hz,
    )
    if weighting not in ("utterance", "duration"):
      raise ValueError(
        f"weighting is {weighting!r}, expected 'utterance' or 'duration'"
      )
    if speed_range and not 0 < speed_range[0] <= speed_range[1]:
      raise ValueError(
        f"speed_range is {speed_range}, expected 0 < slowest <= fastest"
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
    check_utterances(
      corpus, num_sources=num_sources, sample_rate_hz=sample_rate_hz
    )
    self.seed = seed
    self._corpus = corpus
    self._num_sources, self._crop_length = num_sources, crop_length
    self._speed_range = speed_range or (1.0, 1.0)
    self._read_crop = functools.partial(
      read_row, corpus, sample_rate_hz=sample_rate_hz, length=crop_length
    )
    crop_s = crop_length / sample_rate_hz if weighting == "duration" else None
    self._rows = sampling.Rows(corpus, seed=seed, seconds_per_draw=crop_s)
    self.epoch_size = self._rows.epoch_size
    self._draw = sampling.Blocks(self._draws)

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
    return drawn | self._background.draw(index)

  def read(self, index: int) -> Example:
    """The ingredients of an example."""
    drawn = self._draw(index)
    rows = drawn["row"].copy()
    crops = [
      read_source(
        self._corpus,
        rows,
        source,
        read=functools.partial(
          self._read_crop,
          share=float(drawn["share"][source]),
          speed=float(drawn["speed"][source]),
        ),
        tolerance=self._tolerance,
      )
      for source in range(len(rows))
    ]
    example: Example = {
      "sources": np.stack([pad_to(c, self._crop_length) for c in crops]),
      "length": np.array([len(crop) for crop in crops], dtype=np.int32),
      "speaker": self._corpus.speaker[rows],
    }
    return example | self._background.read(drawn, self._crop_length)
