"""Corpora that are folders of audio files, one utterance a file."""

from __future__ import annotations

import concurrent.futures
import os
import posixpath
from collections.abc import Callable

import numpy as np

from data_pipelines import scanning
from data_pipelines.files import CorpusError, channel_reader
from data_pipelines.scan_cache import Headers
from data_pipelines.scanning import Problem, ScanReport
from data_pipelines.table import Corpus, concatenate


def scan_librispeech(
  root: str | os.PathLike[str],
  *,
  split: str | None = None,
  cache_dir: str | os.PathLike[str] | None = None,
) -> Corpus:
  """LibriSpeech, or anything laid out `speaker/chapter/utterance.flac`.

  Transcripts come from the `speaker-chapter.trans.txt` of each chapter, where
  there is one. A speaker in two subsets is one speaker.

  Args:
    root: The folder of a subset such as `train-clean-100`, or a folder of
      such subsets.
    split: Subsets to take from a folder of them: "train" takes all whose name
      begins with `train-`, "train-clean-100+dev-clean" just these. None takes
      all there are, training and test speech alike.
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
        raise CorpusError(f"{root}: has no subset {name}")
      chosen += found
    return concatenate(
      scan_librispeech(os.path.join(root, subset), cache_dir=cache_dir)
      for subset in dict.fromkeys(chosen)
    )

  def check(headers: Headers):
    for path in headers.path:
      if path.count("/") not in (2, 3):
        yield Problem(path, "misplaced", "not speaker/chapter/utterance")

  headers, report = scanning.scan(root, cache_dir=cache_dir, check=check)
  text = _transcripts(root, headers)
  return _corpus(root, headers, report, lambda path: path.split("/")[-3], text)


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

  Args:
    root: The folder of speakers.
    channel: The channel to read; None averages all.
    cache_dir: As for `scan_librispeech`.

  Returns:
    The corpus; a file outside a speaker's folder is reported and left out.

  Raises:
    CorpusError: If the folder is missing or holds no usable file.
  """
  root = scanning.require_folder(root, what="a folder for each speaker")

  def check(headers: Headers):
    for path in headers.path:
      if "/" not in path:
        yield Problem(path, "misplaced", "not in the folder of a speaker")

  headers, report = scanning.scan(root, cache_dir=cache_dir, check=check)
  return _corpus(
    root, headers, report, lambda path: path.split("/")[0], channel=channel
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
    channel: The channel to read; None averages all, but of RIRs the mixing
      takes the first.
    cache_dir: As for `scan_librispeech`.

  Returns:
    The corpus; a file's "speaker" is the folder it lies in, so the RIRs of a
    room that has its own folder are known to belong together.

  Raises:
    CorpusError: If the folder is missing or holds no usable file.
  """
  root = scanning.require_folder(root, what="a folder of audio files")
  headers, report = scanning.scan(root, cache_dir=cache_dir)
  return _corpus(root, headers, report, posixpath.dirname, channel=channel)


def _corpus(
  root: str,
  headers: Headers,
  report: ScanReport,
  speaker_of: Callable[[str], str],
  text: list[str] | None = None,
  channel: int | None = None,
) -> Corpus:
  """The table of one recording a file."""
  return Corpus(
    path=headers.path,
    start=np.zeros(len(headers.path)),
    length=headers.length,
    rate_hz=headers.rate_hz,
    columns={
      "speaker": [speaker_of(path) for path in headers.path],
      "text": text or [""] * len(headers.path),
    },
    root=root,
    report=report,
    reader=channel_reader(channel),
  )


def _transcripts(root: str, headers: Headers) -> list[str]:
  """The text of each file, "" where no transcript names it."""
  chapters = sorted({posixpath.dirname(path) for path in headers.path})

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
  return [texts.get(posixpath.splitext(path)[0], "") for path in headers.path]
