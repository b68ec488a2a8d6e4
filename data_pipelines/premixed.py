"""Corpora whose mixtures are files: WSJ0-2mix, LibriMix and their like."""

from __future__ import annotations

import os

import numpy as np
from absl import logging

from data_pipelines import scanning
from data_pipelines.files import CorpusError, parts_reader
from data_pipelines.scan_cache import Headers
from data_pipelines.scanning import Problem
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
  root = _descend(root, f"{num_sources}speakers")
  folder = os.path.join(root, f"wav{sample_rate_hz // 1000}k", mode, split)
  return scan_premixed(
    folder,
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
    mode: "min" or "max".
    sample_rate_hz: 8000 or 16000: the folder `wav8k` or `wav16k`.
    num_sources: 2 or 3: the folder `Libri2Mix` or `Libri3Mix`.
    mixture: "mix_clean" (the speakers), "mix_both" (and noise) or
      "mix_single" (the first speaker and noise).
    cache_dir: As for `scan_wsj0_mix`.

  Returns:
    As `scan_premixed`.
  """
  root = _descend(root, f"Libri{num_sources}Mix")
  folder = os.path.join(root, f"wav{sample_rate_hz // 1000}k", mode, split)
  return scan_premixed(
    folder,
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
    The mixtures of which every part is there, with the same length and rate,
    as rows with the parts "mixture", "s1", "s2" ... and perhaps "noise", and
    the column "name", the path of each file in its folder. Others are reported.

  Raises:
    CorpusError: If a folder is missing or no mixture can be used.
  """
  sources = tuple(f"s{i + 1}" for i in range(num_sources))
  folders = [mixture, *sources] + ([noise] if noise else [])
  folder = scanning.require_folder(
    folder, what=f"a folder with {', '.join(folders)}"
  )
  for name in folders:
    if not os.path.isdir(os.path.join(folder, name)):
      raise CorpusError(
        f"{folder}: has no folder {name}; it needs {', '.join(folders)}"
      )
  headers, report = scanning.scan(
    folder,
    cache_dir=cache_dir,
    check=lambda headers: _unmatched(headers, folders),
    top_folders=tuple(folders),
  )
  inside = np.array([p.startswith(f"{mixture}/") for p in headers.path])
  rate_hz = headers.rate_hz[inside]
  if (odd := rate_hz != sample_rate_hz).any():
    logging.warning(
      "%s: %d mixtures are not at %d Hz, for one %s",
      folder,
      odd.sum(),
      sample_rate_hz,
      headers.path[inside][odd][0],
    )
  names = [path.partition("/")[2] for path in headers.path[inside]]
  parts = ("mixture", *sources) + (("noise",) if noise else ())
  return Corpus(
    path=[f"*/{name}" for name in names],
    start=np.zeros(len(names)),
    length=headers.length[inside],
    rate_hz=rate_hz,
    columns={"name": names},
    root=folder,
    report=report,
    reader=parts_reader(tuple(folders)),
    parts=parts,
  )


def _descend(root: str | os.PathLike[str], name: str) -> str:
  """`root/name`, or `root` if that is the folder of this name."""
  root = scanning.require_folder(root, what=f"a folder with {name}")
  inner = os.path.join(root, name)
  if os.path.isdir(inner):
    return inner
  if os.path.basename(root) == name:
    return root
  raise CorpusError(f"{root}: has no folder {name}")


def _unmatched(headers: Headers, folders: list[str]):
  """Drops every file of a mixture of which not all parts fit."""
  parts = {}
  for path, length, rate_hz in zip(
    headers.path, headers.length, headers.rate_hz, strict=True
  ):
    folder, _, name = path.partition("/")
    parts.setdefault(name, {})[folder] = (int(length), int(rate_hz))
  for name, found in parts.items():
    missing = [folder for folder in folders if folder not in found]
    bad = [folder for folder, part in found.items() if part[0] == 0]
    detail = None
    if missing:
      detail = f"not in {', '.join(missing)}"
    elif bad:
      detail = f"unusable in {', '.join(bad)}"
    elif len(set(found.values())) > 1:
      detail = "lengths or rates differ: " + ", ".join(
        f"{folder} {found[folder][0]} at {found[folder][1]} Hz"
        for folder in folders
      )
    if detail:
      for folder in found:
        yield Problem(f"{folder}/{name}", "unmatched", detail)
