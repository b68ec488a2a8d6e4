"""Corpora that are folders of audio files, one utterance per file."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import posixpath
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from data_pipelines import scanning
from data_pipelines.files import CorpusError, channel_reader, read_text
from data_pipelines.scanning import Problem
from data_pipelines.table import Corpus, concatenate


def scan_librispeech(
  root: str | os.PathLike[str],
  *,
  split: str | None = None,
  cache_dir: str | os.PathLike[str] | None = None,
) -> Corpus:
  """LibriSpeech, or anything laid out `speaker/chapter/utterance.flac`.

  Transcripts come from `speaker-chapter.trans.txt` in each chapter, if any.

  Args:
    root: The folder of a subset such as `train-clean-100`, or a folder of
      such subsets.
    split: Subsets of such a folder: "train" takes every subset whose name
      begins with `train-`, "train-clean-100+dev-clean" these two, None all,
      also those to test on.
    cache_dir: Where to remember the scan; None takes the user's cache folder.

  Returns:
    The corpus, with columns "speaker" and "text".

  Raises:
    CorpusError: If a folder is missing or holds no usable file.
  """
  root = scanning.require_folder(root, what="a LibriSpeech folder")
  if split:
    subsets = librispeech_subsets(root)
    chosen = []
    for name in split.split("+"):
      found = [s for s in subsets if s == name or s.startswith(f"{name}-")]
      if not found:
        raise CorpusError(
          f"{root}: has no subset {name}, only {', '.join(subsets) or 'files'}"
        )
      chosen += found
    return concatenate(
      scan_librispeech(os.path.join(root, subset), cache_dir=cache_dir)
      for subset in dict.fromkeys(chosen)
    )

  corpus = _scan(
    root,
    cache_dir=cache_dir,
    speaker_of=lambda path: path.split("/")[-3],
    depths=(2, 3),
    expected="speaker/chapter/utterance",
  )
  columns = dict(corpus.columns) | {"text": _transcripts(root, corpus.path)}
  return dataclasses.replace(corpus, columns=columns)


def librispeech_subsets(root: str | os.PathLike[str]) -> tuple[str, ...]:
  """The folders in a folder, sorted: LibriSpeech's subsets."""
  if not os.path.isdir(root):
    return ()
  names = (entry.name for entry in os.scandir(root) if entry.is_dir())
  return tuple(sorted(names))


def scan_speaker_folders(
  root: str | os.PathLike[str],
  *,
  channel: int | None = None,
  cache_dir: str | os.PathLike[str] | None = None,
) -> Corpus:
  """A folder for each speaker, with audio files at any depth in it.

  Texts come from `transcripts.tsv` in the folder of speakers, if there is one:
  on each line the name of a file without its suffix, a tab, and the text.

  Args:
    root: The folder of speakers.
    channel: The channel to read; None averages all.
    cache_dir: As for `scan_librispeech`.

  Returns:
    The corpus, with columns "speaker" and "text"; a file outside a speaker's
    folder is reported and left out.

  Raises:
    CorpusError: If the folder is missing or holds no usable file.
  """
  root = scanning.require_folder(root, what="a folder for each speaker")
  corpus = _scan(
    root,
    cache_dir=cache_dir,
    channel=channel,
    speaker_of=lambda path: path.split("/")[0],
    depths=range(1, 1000),
    expected="in the folder of a speaker",
  )
  path = os.path.join(root, "transcripts.tsv")
  if not os.path.exists(path):
    return corpus
  lines = (line.partition("\t") for line in read_text(path).split("\n"))
  texts = {name: text.strip() for name, _, text in lines}
  stems = (posixpath.basename(posixpath.splitext(p)[0]) for p in corpus.path)
  text = [texts.get(stem, "") for stem in stems]
  return dataclasses.replace(
    corpus, columns=dict(corpus.columns) | {"text": text}
  )


def scan_folder(
  root: str | os.PathLike[str],
  *,
  channel: int | None = None,
  cache_dir: str | os.PathLike[str] | None = None,
) -> Corpus:
  """Every audio file under a folder: noises, RIRs.

  Args:
    root: The folder.
    channel: The channel to read; None averages all, of RIRs it is the first.
    cache_dir: As for `scan_librispeech`.

  Returns:
    The corpus; the "speaker" of a file is its folder, for RIRs the room.

  Raises:
    CorpusError: If the folder is missing or holds no usable file.
  """
  root = scanning.require_folder(root, what="a folder of audio files")
  return _scan(
    root, cache_dir=cache_dir, channel=channel, speaker_of=posixpath.dirname
  )


def _scan(
  root: str,
  *,
  cache_dir: str | os.PathLike[str] | None,
  speaker_of: Callable[[str], str],
  channel: int | None = None,
  depths: Sequence[int] = range(1000),
  expected: str = "",
) -> Corpus:
  """A recording for each file that lies at one of the depths."""

  def check(headers):
    for path, *_ in headers:
      if path.count("/") not in depths:
        yield Problem(path, "misplaced", f"not {expected}")

  headers, report = scanning.scan(root, cache_dir=cache_dir, check=check)
  paths = [header.path for header in headers]
  return Corpus(
    path=paths,
    start=np.zeros(len(paths)),
    length=[header.length for header in headers],
    rate_hz=[header.rate_hz for header in headers],
    columns={
      "speaker": [speaker_of(path) for path in paths],
      "text": [""] * len(paths),
    },
    root=root,
    report=report,
    reader=channel_reader(channel),
  )


def _transcripts(root: str, paths: Iterable[str]) -> list[str]:
  """The text of each file, "" where no transcript names it."""
  chapters = {posixpath.dirname(path) for path in paths}

  def read(chapter: str) -> dict[str, str]:
    speaker, number = chapter.split("/")[-2:]
    path = os.path.join(root, chapter, f"{speaker}-{number}.trans.txt")
    try:
      with open(path, encoding="utf-8") as file:
        pairs = [line.rstrip("\n").partition(" ") for line in file]
    except (FileNotFoundError, UnicodeDecodeError):
      return {}
    return {f"{chapter}/{name}": text.strip() for name, _, text in pairs}

  texts = {}
  with concurrent.futures.ThreadPoolExecutor(scanning.NUM_THREADS) as pool:
    for found in pool.map(read, chapters):
      texts.update(found)
  return [texts.get(posixpath.splitext(path)[0], "") for path in paths]
