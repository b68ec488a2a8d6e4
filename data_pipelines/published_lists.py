"""Reads the mixing lists that WSJ0-2mix and LibriMix publish."""

from __future__ import annotations

import csv
import os
import posixpath

import numpy as np

from data_pipelines import scanning
from data_pipelines._mixture_making import (
  list_of,
  mixture_length,
  with_levels,
)
from data_pipelines._mixture_table import MixtureList
from data_pipelines.files import CorpusError
from data_pipelines.table import Corpus


def read_wsj0_mix(
  path: str | os.PathLike[str],
  root: str | os.PathLike[str],
  *,
  mode: str = "min",
) -> MixtureList:
  """A list of WSJ0-2mix or WSJ0-3mix, such as `mix_2_spk_tt.txt`.

  Each line has a path and a level in dB for each source. As the original
  scripts do, sources are brought to one active level, moved by these, and
  scaled to a peak of 0.9. The active level is `active_rms` at the rate of the
  files, not the filter of ITU-T P.56 at 8 kHz, so levels can differ by some
  tenths of a dB from those of the published mixtures. Every utterance is
  read; keep the result with `write_list`.

  Args:
    path: The list.
    root: Folder that its paths start from, with the speech as WAV.
    mode: "min" cuts a mixture at the end of its shortest source, "max" pads
      to the longest.

  Returns:
    The list, with the ids of the original file names.

  Raises:
    CorpusError: If a line or a file cannot be used.

  References:
    Hershey et al., "Deep clustering", ICASSP 2016; its
    create_wav_2speakers.m.
  """
  paths, levels = [], []
  for number, line in _lines(path):
    words = line.split()
    try:
      levels.append([float(word) for word in words[1::2]])
    except ValueError:
      levels.append([])
    paths.append(words[::2])
    if not levels[-1] or len(levels[-1]) != len(paths[-1]):
      raise CorpusError(
        f"{path}: line {number}: expected a path and a level in dB for each"
        " source"
      )
    if len(paths[-1]) != len(paths[0]):
      raise CorpusError(
        f"{path}: line {number}: {len(paths[-1])} sources, but the first line"
        f" has {len(paths[0])}"
      )
  ids = [
    "_".join(
      f"{posixpath.splitext(posixpath.basename(p))[0]}_{db:.5g}"
      for p, db in zip(*row, strict=True)
    )
    for row in zip(paths, levels, strict=True)
  ]
  corpus, rows = _files(path, root, paths)
  return with_levels(corpus, rows, np.array(levels), mode, ids)


def read_librimix(
  path: str | os.PathLike[str],
  root: str | os.PathLike[str],
  *,
  mode: str = "min",
) -> MixtureList:
  """A metadata file of LibriMix, such as `libri2mix_test-clean.csv`.

  The mixtures are those of `mix_clean`: the sources times the gains of the
  file, and their sum. Noise is not added.

  Args:
    path: The file, with `mixture_ID`, `source_1_path`, `source_1_gain` ...
    root: The LibriSpeech folder.
    mode: As for `read_wsj0_mix`.

  Returns:
    The list, at the rate of the files.

  Raises:
    CorpusError: If a line or a file cannot be used.

  References:
    Cosentino et al., "LibriMix", 2020; its create_librimix_from_metadata.py.
  """
  reader = csv.DictReader(line for _, line in _lines(path))
  names = reader.fieldnames or []
  numbers = [n for n in range(1, 10) if f"source_{n}_path" in names]
  if "mixture_ID" not in names or not numbers:
    raise CorpusError(
      f"{path}: has no columns mixture_ID, source_1_path, source_1_gain"
    )
  ids, paths, gains = [], [], []
  for row in reader:
    ids.append(row["mixture_ID"])
    paths.append([row[f"source_{n}_path"] for n in numbers])
    try:
      gains.append([float(row[f"source_{n}_gain"]) for n in numbers])
      good = min(gains[-1]) > 0
    except (KeyError, TypeError, ValueError):
      good = False
    if not good:
      raise CorpusError(
        f"{path}: line {reader.line_num}: the gains of {ids[-1]} are not all"
        " positive numbers"
      )
  corpus, rows = _files(path, root, paths)
  length = mixture_length(corpus, rows, mode)
  return list_of(corpus, rows, length, np.array(gains), ids)


def _lines(path):
  """Number and text of each line that is not blank."""
  try:
    with open(path, encoding="utf-8") as file:
      lines = [(n, line) for n, line in enumerate(file, 1) if line.strip()]
  except (OSError, UnicodeDecodeError) as error:
    raise CorpusError(f"{path}: cannot be read ({error})") from None
  if not lines:
    raise CorpusError(f"{path}: lists no mixture")
  return lines


def _files(path, root, paths: list[list[str]]) -> tuple[Corpus, np.ndarray]:
  """The files of a list, and which of them each mixture has, `[M, S]`."""
  root = scanning.require_folder(root, what=f"the corpus of {path}")
  if not paths:
    raise CorpusError(f"{path}: lists no mixture")
  names, rows = np.unique(np.array(paths), return_inverse=True)
  found = scanning.probe_all(root, names)
  lengths, rates = zip(*(found[name] for name in names.tolist()), strict=True)
  if len(set(rates)) > 1:
    raise CorpusError(f"{root}: has files of several rates; a list needs one")
  start = np.zeros(len(names))
  corpus = Corpus(names, start, lengths, rates, root=root)
  return corpus, rows.reshape(len(paths), -1)
