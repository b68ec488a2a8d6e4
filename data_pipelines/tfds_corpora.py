"""Corpora from tfds: any audio dataset with speakers, by random access."""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
import tqdm
from absl import logging

from data_pipelines._tensorflow import hide_accelerators
from data_pipelines.files import CorpusError
from data_pipelines.table import Corpus

__all__ = ["from_records", "from_tfds"]

_CACHE_VERSION = 1


def from_tfds(
  name: str,
  *,
  split: str = "train",
  audio: str | None = None,
  speaker: str = "speaker_id",
  text: str | None = "text",
  rate_hz: int | None = None,
  data_dir: str | os.PathLike[str] | None = None,
  cache_dir: str | os.PathLike[str] | None = None,
) -> Corpus:
  """A prepared tfds dataset.

  It must have been prepared in a format with random access, for instance by
  `tfds.builder(name, file_format="array_record").download_and_prepare()`. A
  record is decoded whole whichever part of it is wanted, and the first time
  every record is read once to learn its length.

  Args:
    name: Name of the dataset, with config and version if wanted.
    split: Split, tfds's slicing allowed.
    audio: Feature with the audio; None takes the only `Audio` feature.
    speaker: Feature with the speaker, of any type.
    text: Feature with the transcript; None or a missing one gives "".
    rate_hz: Sample rate, where the dataset does not state it.
    data_dir: Where tfds keeps its datasets.
    cache_dir: Where to remember the table; None does not.

  Returns:
    The corpus, in the order of the dataset.

  Raises:
    CorpusError: If the dataset is not prepared, has no random access, or
      lacks a feature.
  """
  hide_accelerators()
  try:
    builder: Any = tfds.builder(name, data_dir=data_dir)
    source = builder.as_data_source(split)
  except Exception as error:  # tfds raises a kind of error for every cause.
    reason = " ".join(str(error).split())[:300]
    raise CorpusError(
      f"tfds dataset {name}, split {split}: cannot be opened ({reason});"
      " prepare it with file_format='array_record'"
    ) from None
  features: Any = builder.info.features
  if audio is None:
    found = [
      key
      for key, feature in features.items()
      if isinstance(feature, tfds.features.Audio)
    ]
    if len(found) != 1:
      raise CorpusError(
        f"tfds dataset {name}: audio features are {found}, say which to take"
      )
    audio = str(found[0])
  for key in (audio, speaker):
    if key not in features:
      raise CorpusError(
        f"tfds dataset {name}: has no feature {key}, only {sorted(features)}"
      )
  rate_hz = rate_hz or getattr(features[audio], "sample_rate", None)
  if not rate_hz:
    raise CorpusError(f"tfds dataset {name}: states no sample rate, give one")
  return from_records(
    source,
    name=posixpath.join(builder.info.full_name, split),
    audio=audio,
    speaker=speaker,
    text=text if text in features else None,
    rate_hz=rate_hz,
    cache_dir=cache_dir,
  )


def from_records(
  source: Sequence[Mapping[str, Any]],
  *,
  name: str,
  audio: str,
  speaker: str,
  rate_hz: int,
  text: str | None = None,
  cache_dir: str | os.PathLike[str] | None = None,
) -> Corpus:
  """Any sequence of records with audio and a speaker.

  Integer audio is taken to have 16 bits, as tfds has it whatever its dtype,
  and divided by 32768. Audio of two dimensions is `[time, channels]`, and the
  channels are averaged.

  Args:
    source: The records, by number.
    name: Name of the dataset: begins the path of each row and, with the
      number of records, tells which remembered table belongs to it.
    audio: Key of the audio.
    speaker: Key of the speaker.
    rate_hz: Sample rate of all records.
    text: Key of the transcript, if there is one.
    cache_dir: Where to remember the table; None does not.

  Returns:
    The corpus; records that are empty or broken are reported and left out.

  Raises:
    CorpusError: If no record can be used.
  """
  reader = _RecordReader(source, name, audio)
  keys = [name, len(source), audio, speaker, text, _CACHE_VERSION]
  path = None
  if cache_dir is not None:
    digest = hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:16]
    path = os.path.join(os.fspath(cache_dir), f"records_{digest}.json")
  table = _load(path) or _scan(reader, name, speaker, text)
  if path is not None:
    _save(path, table)
  if not table:
    raise CorpusError(f"{name}: none of its {len(source)} records can be used")
  number, length, speakers, texts = zip(*table, strict=True)
  names, index = np.unique(np.array(speakers), return_inverse=True)
  return Corpus(
    path=[f"{name}/{i}" for i in number],
    start=np.zeros(len(table)),
    length=length,
    rate_hz=np.full(len(table), rate_hz),
    speaker=index,
    text=texts,
    speakers=tuple(names.tolist()),
    reader=reader,
  )


class _RecordReader:
  """Reads part of the audio of a record."""

  def __init__(self, source, name: str, audio: str):
    self.source = source
    self._name = name
    self._audio = audio
    # Data sources do not promise to be safe in threads.
    self._lock = threading.Lock()

  def record(self, number: int) -> Mapping[str, Any]:
    with self._lock:
      try:
        return self.source[number]
      except Exception as error:  # Whatever a damaged record may raise.
        reason = " ".join(str(error).split())[:300]
        raise CorpusError(
          f"{self._name}/{number}: cannot be read ({reason})"
        ) from None

  def samples(self, record: Mapping[str, Any]) -> np.ndarray:
    return np.asarray(record[self._audio])

  def __call__(self, path: str, start: int, length: int) -> np.ndarray:
    samples = self.samples(self.record(int(path.rpartition("/")[2])))
    crop = samples[start : start + length]
    if len(crop) != length:
      raise CorpusError(
        f"{path}: samples {start} to {start + length} wanted, but there are"
        f" {len(samples)}"
      )
    scale = 2.0**-15 if np.issubdtype(samples.dtype, np.integer) else 1.0
    crop = crop.astype(np.float32) * np.float32(scale)
    if crop.ndim == 2:
      crop = crop.mean(axis=1)
    if not np.isfinite(crop).all():
      raise CorpusError(f"{path}: holds NaN or infinite samples")
    return crop


def _scan(reader: _RecordReader, name: str, speaker: str, text: str | None):
  """(number, length, speaker, text) of each record that can be used."""
  table, problems = [], []
  numbers = range(len(reader.source))
  for number in tqdm.tqdm(numbers, f"reading {name}", delay=2, leave=False):
    try:
      record = reader.record(number)
    except CorpusError as error:
      problems.append(str(error))
      continue
    if not (length := len(reader.samples(record))):
      problems.append(f"{name}/{number}: no samples")
      continue
    words = _string(record[text]) if text else ""
    table.append((number, length, _string(record[speaker]), words))
  if problems:
    logging.warning(
      "%s: %d of %d records left out: %s",
      name,
      len(problems),
      len(numbers),
      "; ".join(problems[:3]) + (" ..." if len(problems) > 3 else ""),
    )
  return table


def _string(value: Any) -> str:
  value = value.item() if isinstance(value, np.generic) else value
  if isinstance(value, bytes):
    return value.decode("utf-8", "replace")
  return str(value)


def _load(path: str | None):
  """The remembered table, if there is one that can be used."""
  if path is None:
    return None
  try:
    with open(path, encoding="utf-8") as file:
      return [tuple(row) for row in json.load(file)]
  except FileNotFoundError:
    return None
  except (OSError, ValueError, TypeError) as error:
    logging.warning("%s: ignored, it is damaged (%s)", path, error)
    return None


def _save(path: str, table) -> None:
  """Writes the table under another name first: readers never see half."""
  partial = f"{path}.{os.getpid()}.partial"
  try:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(partial, "w", encoding="utf-8") as file:
      json.dump(table, file)
    os.replace(partial, path)
  except OSError as error:
    logging.warning("%s: cannot be written (%s)", path, error)
