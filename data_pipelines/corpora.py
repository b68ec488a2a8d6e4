"""The corpora to train and evaluate on; `open_corpus` opens any of them."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable
from typing import Any

from data_pipelines.files import CorpusError
from data_pipelines.folders import (
  librispeech_subsets,
  scan_folder,
  scan_librispeech,
  scan_speaker_folders,
)
from data_pipelines.manifests import read_manifest
from data_pipelines.premixed import scan_librimix, scan_premixed, scan_wsj0_mix
from data_pipelines.table import Corpus, concatenate, hold_out, shared_speakers
from data_pipelines.voices import make_voices

__all__ = [
  "Corpus",
  "CorpusError",
  "concatenate",
  "hold_out",
  "open_corpus",
  "read_manifest",
  "scan_folder",
  "scan_librimix",
  "scan_librispeech",
  "scan_premixed",
  "scan_speaker_folders",
  "scan_wsj0_mix",
  "shared_speakers",
  "splits_of",
]

_LAYOUTS = {
  "voices": make_voices,
  "librispeech": scan_librispeech,
  "speaker_folders": scan_speaker_folders,
  "folder": scan_folder,
  "manifest": read_manifest,
  "wsj0_mix": scan_wsj0_mix,
  "librimix": scan_librimix,
  "tfds": None,  # Imported when it is used, as it needs TensorFlow.
}
_SPLITS = {
  "voices": ("train", "valid", "test"),
  "wsj0_mix": ("tr", "cv", "tt"),
  "librimix": ("train-100", "dev", "test"),
}


def open_corpus(
  spec: str,
  *,
  split: str | None = None,
  speakers: Iterable[str] | str | os.PathLike[str] | None = None,
  exclude: Iterable[str] | str | os.PathLike[str] | None = None,
  sample_rate_hz: int | None = None,
  num_sources: int | None = None,
  cache_dir: str | os.PathLike[str] | None = None,
  **options: Any,
) -> Corpus:
  """Opens the corpus that a flag names.

  Args:
    spec: `layout:where`. Layouts are "librispeech", "speaker_folders",
      "folder" (noises, RIRs), "wsj0_mix" and "librimix", each with a folder;
      "manifest" with a file; "tfds" with a dataset's name and, unless it is
      where tfds keeps datasets, `@FOLDER`; and "voices" alone.
    split: Split, of layouts with splits (see `splits_of`); None takes the one
      to train on, or all of LibriSpeech.
    speakers: Speakers to keep, or a file of them; see `Corpus.subset`.
    exclude: Speakers to leave out, or a file of them.
    sample_rate_hz: The rate wanted, of layouts that come in several.
    num_sources: The sources of a mixture, of layouts that come in several.
    cache_dir: Where to remember scans; None takes the user's cache folder.
    **options: Passed to the function that opens the layout, such as
      `scan_folder`, `from_tfds` or `voices.make_voices`.

  Returns:
    The corpus; of mixtures, one with `is_premixed`.

  Raises:
    CorpusError: If there is no such layout or option, or the corpus cannot be
      used.

  Example:
    >>> voices = open_corpus("voices", split="test", num_speakers=3)
    >>> voices.speakers[0], int(voices.rate_hz[0])
    ('voice-test-00000', 8000)
  """
  layout, _, where = spec.partition(":")
  if layout not in _LAYOUTS:
    raise CorpusError(
      f"{spec!r} names no corpus; expected layout:where with a layout of"
      f" {', '.join(_LAYOUTS)}"
    )
  if (layout == "voices") == bool(where):
    expected = "voices alone" if where else f"{layout}:where"
    raise CorpusError(f"{spec!r} names no corpus; expected {expected}")
  if layout != "tfds":
    where = os.path.expanduser(where)
  function = _LAYOUTS[layout] or _tfds_corpora().from_tfds
  accepted = inspect.getfullargspec(function).kwonlyargs
  options |= {} if split is None else {"split": split}
  for name in options:
    if name not in accepted:
      raise CorpusError(
        f"{name} is {options[name]}, but {spec} has no such option; it has"
        f" {', '.join(accepted)}"
      )
  for name, value in (
    ("sample_rate_hz", sample_rate_hz),
    ("num_sources", num_sources),
    ("cache_dir", cache_dir),
  ):
    if value is not None and name in accepted:
      options[name] = value
  corpus = function(*([where] if where else []), **options)
  if speakers is None and exclude is None:
    return corpus
  return corpus.subset(speakers=speakers, exclude=exclude)


def splits_of(spec: str) -> tuple[str, str | None, str] | None:
  """The splits to train, validate and test on.

  Args:
    spec: As for `open_corpus`.

  Returns:
    Their names; None if a layout or a tfds dataset has no more than one. In a
    folder with any of LibriSpeech's `train-*`, `dev-*` and `test-*` they are
    "train", "dev" and "test". The second is None where there is none, as
    without `dev-*` and for tfds: validate on some speakers of the first.

  Raises:
    CorpusError: If a tfds dataset cannot be opened.
  """
  layout, _, where = spec.partition(":")
  if layout == "tfds":
    several = len(_tfds_corpora().splits_of(where)) > 1
    return ("train", None, "test") if several else None
  if layout != "librispeech":
    return _SPLITS.get(layout)
  subsets = librispeech_subsets(os.path.expanduser(where))
  found = {subset.partition("-")[0] for subset in subsets if "-" in subset}
  if not found & {"train", "dev", "test"}:
    return None
  return "train", "dev" if "dev" in found else None, "test"


def _tfds_corpora() -> Any:
  from data_pipelines import tfds_corpora

  return tfds_corpora
