"""The corpora that training and evaluation read from, by layout.

A layout is a way of placing files in folders. `open_corpus` opens any of
them from one string, as a flag or a config gives it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from data_pipelines.files import CorpusError, read_file, read_names
from data_pipelines.folders import (
  read_sexes,
  scan_folder,
  scan_librispeech,
  scan_speaker_folders,
)
from data_pipelines.premixed import (
  PremixedCorpus,
  scan_librimix,
  scan_premixed,
  scan_wsj0_mix,
)
from data_pipelines.scanning import Problem, ScanReport
from data_pipelines.table import Corpus, concatenate

__all__ = [
  "Corpus",
  "CorpusError",
  "PremixedCorpus",
  "Problem",
  "ScanReport",
  "concatenate",
  "from_tfds",
  "open_corpus",
  "read_file",
  "read_names",
  "read_sexes",
  "scan_folder",
  "scan_librimix",
  "scan_librispeech",
  "scan_premixed",
  "scan_speaker_folders",
  "scan_wsj0_mix",
]


def from_tfds(name: str, **options: Any) -> Corpus:
  """A prepared tfds dataset. Imports TensorFlow.

  Args:
    name: Name of the dataset.
    **options: Those of `tfds_corpora.from_tfds`.

  Returns:
    The corpus.

  Raises:
    CorpusError: If it is not there or cannot be used.
  """
  from data_pipelines import tfds_corpora

  return tfds_corpora.from_tfds(name, **options)


def _voices(root: str, **options: Any) -> Any:
  from data_pipelines import voices

  if root:
    raise CorpusError(f"voices need no folder, but {root} was given")
  return voices.make_voices(**options)


_LAYOUTS = {
  "librispeech": scan_librispeech,
  "speaker_folders": scan_speaker_folders,
  "folder": scan_folder,
  "tfds": from_tfds,
  "voices": _voices,
  "wsj0_mix": scan_wsj0_mix,
  "librimix": scan_librimix,
}


def open_corpus(
  spec: str,
  *,
  speakers: Iterable[str] | str | os.PathLike[str] | None = None,
  exclude: Iterable[str] | str | os.PathLike[str] | None = None,
  **options: Any,
) -> Any:
  """Opens the corpus that a flag names.

  Args:
    spec: `layout:where`. Layouts are "librispeech", "speaker_folders",
      "folder" (noises, rooms), "wsj0_mix" and "librimix", each with a folder;
      "tfds" with a dataset's name; and "voices" alone.
    speakers: Speakers to keep, or a file of them; see `Corpus.subset`.
    exclude: Speakers to leave out, or a file of them.
    **options: Passed to the function that opens the layout, such as
      `scan_librispeech`, `from_tfds` or `voices.make_voices`.

  Returns:
    A `Corpus`, or a `PremixedCorpus` for the pre-mixed layouts.

  Raises:
    CorpusError: If there is no such layout or the corpus cannot be used.
  """
  layout, _, where = spec.partition(":")
  if layout not in _LAYOUTS:
    raise CorpusError(
      f"{spec!r} names no corpus; expected layout:where with a layout of"
      f" {', '.join(_LAYOUTS)}"
    )
  if not where and layout != "voices":
    raise CorpusError(f"{spec!r} does not say where; expected {layout}:where")
  if layout not in ("tfds", "voices"):
    where = os.path.expanduser(where)
  corpus = _LAYOUTS[layout](where, **options)
  if speakers is None and exclude is None:
    return corpus
  if isinstance(corpus, PremixedCorpus):
    raise CorpusError(f"{spec}: mixtures cannot be chosen by speaker")
  return corpus.subset(speakers=speakers, exclude=exclude)
