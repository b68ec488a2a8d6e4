"""Fixed lists of mixtures for evaluation, as CSV, and reading them.

A list says which utterances are mixed at which levels; it holds no audio. A
row has `id`, `rate_hz` and `length` (samples of the mixture at that rate),
and for each source `n`: `path_n` relative to the corpus, `start_n` (first
sample), `length_n` (samples taken) and `gain_db_n` (applied to the samples
of the file as they are, so that reading a list is only a weighted sum).

Levels follow the recipe of WSJ0-2mix: sources are brought to the same active
level, moved apart by their SNRs, and mixture and sources are scaled by one
gain, such that the highest peak of them all is at most 0.9. The active level
is the RMS over the frames within 40 dB of the loudest one, not the filter of
ITU-T P.56.

The lists that LibriMix and WSJ0-2mix publish are read too: their mixtures are
then made while they are read, and need no disk.
"""

from __future__ import annotations

import os

import numpy as np

from data_pipelines import scanning
from data_pipelines._mixture_making import active_rms, make_pair_list
from data_pipelines._mixture_table import (
  MixtureList,
  mistake_in,
  read_list,
  write_list,
)
from data_pipelines.files import CorpusError, read_file
from data_pipelines.published_lists import read_librimix, read_wsj0_mix
from data_pipelines.table import Corpus

__all__ = [
  "MixtureList",
  "active_rms",
  "make_pair_list",
  "open_list",
  "read_librimix",
  "read_list",
  "read_wsj0_mix",
  "write_list",
]


def open_list(mixtures: MixtureList, root: str | os.PathLike[str]) -> Corpus:
  """Finds the files of a list and checks them against it.

  Args:
    mixtures: The list.
    root: Folder that its paths start from.

  Returns:
    A corpus of mixtures with the parts "mixture", "s1", "s2" ..., of which
    the first is the sum of the others, and the columns "name" (the id) and
    "path_1", "path_2" ... (the file of each source).

  Raises:
    CorpusError: If the list holds what cannot be meant, or a file is missing,
      broken, of another rate or too short.
  """
  if mistake := mistake_in(mixtures):
    row, what = mistake
    raise CorpusError(f"mixture {mixtures.id[row]}: {what}")
  root = scanning.require_folder(root, what="the corpus of the list")
  found = scanning.probe_all(root, mixtures.path)
  num_samples, rate_hz = np.moveaxis(
    np.array([[found[path] for path in row] for row in mixtures.path]), -1, 0
  )
  needed = mixtures.start + mixtures.source_length
  wrong = (rate_hz != mixtures.rate_hz[:, None]).any(axis=1)
  short = (num_samples < needed).any(axis=1)
  for bad, what in ((wrong, "of another rate"), (short, "shorter")):
    if bad.any():
      m = int(np.argmax(bad))
      raise CorpusError(
        f"mixture {mixtures.id[m]}: its files under {root} are {what} than"
        " those the list was made from"
      )
  numbers = range(1, mixtures.num_sources + 1)
  return Corpus(
    path=mixtures.id,
    start=np.zeros(len(mixtures)),
    length=mixtures.length,
    rate_hz=mixtures.rate_hz,
    columns={"name": mixtures.id}
    | {f"path_{n}": mixtures.path[:, n - 1] for n in numbers},
    reader=_Mixer(mixtures, root),
    parts=("mixture", *(f"s{n}" for n in numbers)),
  )


class _Mixer:
  """Reads mixture and sources, `[1 + S, length]`, by the mixture's id."""

  def __init__(self, mixtures: MixtureList, root: str):
    self._mixtures, self._root = mixtures, root
    self._row_of = {name: row for row, name in enumerate(mixtures.id)}

  def __call__(self, path: str, start: int, length: int) -> np.ndarray:
    mixtures, row = self._mixtures, self._row_of[path]
    parts = np.zeros((1 + mixtures.num_sources, length), dtype=np.float32)
    for source in range(mixtures.num_sources):
      end = min(start + length, int(mixtures.source_length[row, source]))
      if end <= start:
        continue
      samples = read_file(
        os.path.join(self._root, mixtures.path[row, source]),
        int(mixtures.start[row, source]) + start,
        end - start,
      )
      gain = np.float32(10 ** (mixtures.gain_db[row, source] / 20))
      parts[1 + source, : len(samples)] = gain * samples
    parts[0] = parts[1:].sum(axis=0)
    return parts
