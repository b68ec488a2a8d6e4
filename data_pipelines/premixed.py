"""Corpora whose mixtures are files: WSJ0-2mix, LibriMix and their like."""

from __future__ import annotations

import collections
import os
from collections.abc import Iterator

import numpy as np
from absl import logging

from data_pipelines import scanning
from data_pipelines.files import CorpusError, parts_reader
from data_pipelines.scanning import Header, Problem
from data_pipelines.table import Corpus


def scan_wsj0_mix(
  root: str | os.PathLike[str],
  *,
  split: str = "tr",
  mode: str = "min",
  sample_rate_hz: int = 8000,
  num_sources: int = 2,
  cache_dir: str | os.PathLike[str] | None = None,
) -> Corpus:
  """WSJ0-2mix or WSJ0-3mix as its scripts write it.

  Args:
    root: The folder that holds `2speakers`, or that folder itself.
    split: "tr", "cv" or "tt".
    mode: "min" (cut to the shortest source) or "max" (padded to the longest).
    sample_rate_hz: 8000 or 16000: the folder `wav8k` or `wav16k`.
    num_sources: 2 or 3: the folder `2speakers` or `3speakers`.
    cache_dir: Where to remember the scan; None takes the user's cache folder.

  Returns:
    As `scan_premixed`.
  """
  return scan_premixed(
    _place(root, f"{num_sources}speakers", sample_rate_hz, mode, split),
    mixture="mix",
    num_sources=num_sources,
    sample_rate_hz=sample_rate_hz,
    cache_dir=cache_dir,
  )


def scan_librimix(
  root: str | os.PathLike[str],
  *,
  split: str = "train-100",
  mode: str = "min",
  sample_rate_hz: int = 8000,
  num_sources: int = 2,
  mixture: str = "mix_clean",
  cache_dir: str | os.PathLike[str] | None = None,
) -> Corpus:
  """Libri2Mix or Libri3Mix as its scripts write it.

  Args:
    root: The folder that holds `Libri2Mix`, or that folder itself.
    split: "train-100", "train-360", "dev" or "test".
    mode: As for `scan_wsj0_mix`.
    sample_rate_hz: As for `scan_wsj0_mix`.
    num_sources: 2 or 3: the folder `Libri2Mix` or `Libri3Mix`.
    mixture: "mix_clean" (the speakers), "mix_both" (and noise) or
      "mix_single" (the first speaker and noise).
    cache_dir: As for `scan_wsj0_mix`.

  Returns:
    As `scan_premixed`.
  """
  return scan_premixed(
    _place(root, f"Libri{num_sources}Mix", sample_rate_hz, mode, split),
    mixture=mixture,
    num_sources=1 if mixture == "mix_single" else num_sources,
    sample_rate_hz=sample_rate_hz,
    noise=None if mixture == "mix_clean" else "noise",
    cache_dir=cache_dir,
  )


def scan_premixed(
  folder: str | os.PathLike[str],
  *,
  mixture: str,
  num_sources: int,
  sample_rate_hz: int,
  noise: str | None = None,
  cache_dir: str | os.PathLike[str] | None = None,
) -> Corpus:
  """Folders `mixture`, `s1`, `s2` ... with files of the same names.

  Args:
    folder: The folder that holds those folders.
    mixture: Name of the folder of mixtures.
    num_sources: How many folders `s1`, `s2` ... to read.
    sample_rate_hz: The rate that the files should have.
    noise: Name of the folder of noises, if wanted.
    cache_dir: As for `scan_wsj0_mix`.

  Returns:
    The mixtures whose parts "mixture", "s1", "s2" ... and perhaps "noise" all
    have the same length and rate, with the column "name", the path of the file
    in its folder. Others are reported.

  Raises:
    CorpusError: If a folder is missing or no mixture can be used.
  """
  sources = tuple(f"s{i + 1}" for i in range(num_sources))
  folders = (mixture, *sources, *([noise] if noise else []))
  needed = f"a folder with {', '.join(folders)}"
  folder = scanning.require_folder(folder, what=needed)
  for name in folders:
    if not os.path.isdir(os.path.join(folder, name)):
      raise CorpusError(f"{folder}: has no folder {name}; expected {needed}")
  headers, report = scanning.scan(
    folder,
    cache_dir=cache_dir,
    check=lambda headers: _unmatched(headers, folders),
    top_folders=folders,
  )
  headers = [h for h in headers if h.path.startswith(f"{mixture}/")]
  if odd := [h.path for h in headers if h.rate_hz != sample_rate_hz]:
    message = "%s: %d mixtures are not at %d Hz, such as %s"
    logging.warning(message, folder, len(odd), sample_rate_hz, odd[0])
  names = [header.path.partition("/")[2] for header in headers]
  return Corpus(
    path=[f"*/{name}" for name in names],
    start=np.zeros(len(names)),
    length=[header.length for header in headers],
    rate_hz=[header.rate_hz for header in headers],
    columns={"name": names},
    root=folder,
    report=report,
    reader=parts_reader(folders),
    parts=("mixture", *sources, *(["noise"] if noise else [])),
  )


def _place(root, name: str, sample_rate_hz: int, mode: str, split: str) -> str:
  """A split's folder in `root/name`, or in `root` if that has the name."""
  root = scanning.require_folder(root, what=f"a folder with {name}")
  if os.path.isdir(os.path.join(root, name)):
    root = os.path.join(root, name)
  elif os.path.basename(root) != name:
    raise CorpusError(f"{root}: has no folder {name}")
  return os.path.join(root, f"wav{sample_rate_hz // 1000}k", mode, split)


def _unmatched(headers: list[Header], folders) -> Iterator[Problem]:
  """Drops all files of a mixture if a part is missing or differs."""
  parts = collections.defaultdict(dict)
  for path, length, rate_hz, _ in headers:
    folder, _, name = path.partition("/")
    parts[name][folder] = f"{length} at {rate_hz} Hz" if length else ""
  for name, found in parts.items():
    if missing := [folder for folder in folders if folder not in found]:
      detail = f"not in {', '.join(missing)}"
    elif bad := [folder for folder in folders if not found[folder]]:
      detail = f"unusable in {', '.join(bad)}"
    elif len(set(found.values())) > 1:
      different = ", ".join(f"{folder} {found[folder]}" for folder in folders)
      detail = f"lengths or rates differ: {different}"
    else:
      continue
    for folder in found:
      yield Problem(f"{folder}/{name}", "unmatched", detail)
