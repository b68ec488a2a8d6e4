"""Corpora from tfds: any audio dataset, by random access."""

from __future__ import annotations

import concurrent.futures
import functools
import io
import json
import os
import posixpath
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import soundfile
import tensorflow_datasets as tfds
from absl import logging
from etils import epath

from data_pipelines import scan_cache, scanning
from data_pipelines._tensorflow import hide_accelerators
from data_pipelines.files import (
  SOUND_ERRORS,
  CorpusError,
  one_channel,
  reason_of,
)
from data_pipelines.table import Corpus

__all__ = ["from_tfds"]


def from_tfds(
  where: str,
  *,
  split: str | None = None,
  audio: str | None = None,
  speaker: str | None = None,
  text: str = "text",
  rate_hz: int | None = None,
  channel: int | None = None,
  data_dir: str | os.PathLike[str] | None = None,
  cache_dir: str | os.PathLike[str] | None = None,
) -> Corpus:
  """A prepared tfds dataset.

  It must have a format with random access: prepare it by `build_tfds` or by
  `tfds.builder(name, file_format="array_record").download_and_prepare()`.
  Records are decoded in the threads that read. The first time, all records are
  decoded to find their lengths, but not those of `build_tfds`.

  Integer audio is divided by 32768: tfds has 16 bits whatever the dtype. Audio
  of two dimensions is `[time, channels]`.

  Args:
    where: Name of the dataset, with config and version if wanted, and
      `@FOLDER` after it instead of `data_dir`.
    split: Split, tfds's slicing allowed; None takes "train" or, where there is
      only one, that.
    audio: Feature with the audio; None takes "audio" or the only `Audio`.
    speaker: Feature with the speaker, of any type; None takes "speaker" or
      "speaker_id", if there is one.
    text: Feature with the transcript, if there is one.
    rate_hz: Sample rate, where the dataset does not state it.
    channel: The channel to read; None averages all.
    data_dir: Folder of the dataset or, untested, a bucket (`gs://`); None is
      where tfds keeps its datasets.
    cache_dir: Where to remember the table; None takes the user's cache folder.

  Returns:
    The corpus, in the order of the dataset, with a column for each feature
    that is a number or text. Empty and broken records are reported and left
    out.

  Raises:
    CorpusError: If the dataset cannot be opened, lacks a feature, or has no
      usable record.
  """
  name, builder = _opened(where, data_dir)
  splits = list(builder.info.splits)
  chosen = split or str(splits[0] if len(splits) == 1 else "train")
  source = _source(name, builder, chosen)
  features: Any = builder.info.features
  audio = audio or _audio_of(features, name)
  speaker = speaker or next(
    (key for key in ("speaker", "speaker_id") if key in features), None
  )
  for key in (audio, speaker):
    if key and key not in features:
      raise CorpusError(
        f"tfds dataset {name}: has no feature {key}, only {sorted(features)}"
      )
  rate_hz = rate_hz or getattr(features[audio], "sample_rate", None)
  if not rate_hz and "rate_hz" not in features:
    raise CorpusError(f"tfds dataset {name}: states no sample rate, give one")
  title = posixpath.join(builder.info.full_name, chosen)
  records = _Records(source, features, title, audio)
  names = {
    key: {speaker: "speaker", text: "text"}.get(key) or key
    for key, feature in features.items()
    if key != audio and feature.shape == ()
  }
  info = epath.Path(builder.data_path) / "dataset_info.json"
  key = [title, len(source), str(info), info.stat().mtime, audio, names]
  kept_in = scan_cache.table_path(json.dumps(key), "records.json", cache_dir)
  if not (table := scan_cache.load(kept_in)):
    table = _scan(records, names)
    scan_cache.save(kept_in, table)
  if not table["number"]:
    raise CorpusError(f"{title}: none of its {len(source)} records can be used")
  rates = table.pop("rate_hz", [rate_hz] * len(table["number"]))
  parts = set(table.pop("parts", ["signal"])).pop()
  if channel is not None:
    records = functools.partial(records, channel=channel)
  if "speaker" in table:
    table["speaker"] = list(map(str, table["speaker"]))
  return Corpus(
    path=[f"{title}/{i}" for i in table.pop("number")],
    start=np.zeros(len(rates)),
    length=table.pop("length"),
    rate_hz=rates,
    columns=table,
    title=title,
    reader=records,
    parts=tuple(parts.split()),
  )


def splits_of(where: str) -> tuple[str, ...]:
  """The splits of a prepared dataset, named as for `from_tfds`."""
  return tuple(_opened(where, None)[1].info.splits)


def _opened(where: str, data_dir) -> tuple[str, Any]:
  """The name and the builder of a prepared dataset."""
  hide_accelerators()
  name, _, folder = where.partition("@")
  folder = os.path.expanduser(folder or data_dir or "") or None
  if folder and not epath.Path(folder).is_dir():
    raise CorpusError(f"{folder}: no such folder; expected tfds datasets")
  try:
    builder: Any = tfds.builder(name, data_dir=folder)
  except tfds.core.DatasetNotFoundError:
    place = folder or "the folder of tfds; give another as NAME@FOLDER"
    raise CorpusError(f"tfds dataset {name}: is not in {place}") from None
  except Exception as error:  # tfds raises errors of any kind.
    raise CorpusError(
      f"tfds dataset {name}: cannot be opened ({_short(error)})"
    ) from None
  if not builder.info.splits:
    raise CorpusError(
      f"tfds dataset {name}: is not prepared in {builder.data_path}; prepare it"
      " with file_format='array_record'"
    )
  return name, builder


def _source(name: str, builder: Any, split: str) -> Any:
  """The records of a split as bytes."""
  try:
    return builder.as_data_source(
      split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
    )
  except NotImplementedError:
    reason = "its format has no random access"
    advice = "; prepare it with file_format='array_record'"
  except Exception as error:  # tfds raises errors of any kind.
    reason, advice = _short(error), ""
  raise CorpusError(
    f"tfds dataset {name}, split {split}: cannot be opened ({reason}){advice}"
  )


def _short(error: Exception) -> str:
  return " ".join(str(error).split())[:300]


def _audio_of(features: Mapping[str, Any], name: str) -> str:
  """The feature with the audio."""
  if "audio" in features:
    return "audio"
  found = [k for k in features if isinstance(features[k], tfds.features.Audio)]
  if len(found) != 1:
    raise CorpusError(
      f"tfds dataset {name}: audio features are {found}, say which to take"
    )
  return str(found[0])


class _Records:
  """Reads part of the audio of a record."""

  def __init__(self, source, features, title: str, audio: str):
    self.source, self.title, self.audio = source, title, audio
    self._features = features
    # Data sources may not be thread-safe; decoding is.
    self._lock = threading.Lock()

  def record(self, number: int, names: Iterable[str]) -> dict[str, Any]:
    """Some features of a record; the others are not decoded."""
    try:
      with self._lock:
        raw = self.source[number]
      features = {name: self._features[name] for name in names}
      decoder: Any = tfds.features.FeaturesDict(features)
      return decoder.deserialize_example_np(raw)
    except Exception as error:  # Damaged records raise errors of any kind.
      raise CorpusError(
        f"{self.title}/{number}: cannot be read ({_short(error)})"
      ) from None

  def __call__(
    self, path: str, start: int, length: int, *, channel: int | None = None
  ) -> np.ndarray:
    number = int(path.rpartition("/")[2])
    stored = self.record(number, [self.audio])[self.audio]
    if isinstance(stored, (bytes, np.bytes_)):
      try:
        with soundfile.SoundFile(io.BytesIO(stored)) as file:
          stacked = file.comment == STACKED
          file.seek(min(start, file.frames))
          samples = file.read(length, dtype="float32")
      except SOUND_ERRORS as error:
        reason = reason_of(error)
        raise CorpusError(f"{path}: cannot be read ({reason})") from None
    else:
      stacked, samples = False, stored[start : start + length]
    if len(samples) != length:
      raise CorpusError(
        f"{path}: samples {start} to {start + length} wanted, but there are"
        f" only {start + len(samples)}"
      )
    scale = 2.0**-15 if np.issubdtype(samples.dtype, np.integer) else 1.0
    samples = samples.astype(np.float32) * np.float32(scale)
    if not np.isfinite(samples).all():
      raise CorpusError(f"{path}: holds NaN or infinite samples")
    if stacked:
      return np.ascontiguousarray(samples.reshape(length, -1).T)
    return one_channel(samples, path, channel)


#: Comment of stored audio whose channels are the parts of a row.
STACKED = "parts"


def _scan(records: _Records, names: Mapping[str, str]) -> dict[str, list]:
  """The columns of the records that can be used, and their numbers."""
  total = len(records.source)
  logging.info("%s: looking at %d records ...", records.title, total)

  def look(number: int) -> dict[str, Any] | CorpusError:
    try:
      record = records.record(number, names)
      row = {names[key]: _plain(value) for key, value in record.items()}
      audio = records.audio
      length = row.get("length") or len(records.record(number, [audio])[audio])
    except CorpusError as error:
      return error
    if not length:
      return CorpusError(f"{records.title}/{number}: no samples")
    return row | {"number": number, "length": length}

  with concurrent.futures.ThreadPoolExecutor(scanning.NUM_THREADS) as pool:
    found = list(pool.map(look, range(total)))
  problems = [str(row) for row in found if isinstance(row, CorpusError)]
  rows = [row for row in found if not isinstance(row, CorpusError)]
  if problems:
    logging.warning(
      "%s: %d of %d records left out, such as %s",
      records.title,
      len(problems),
      total,
      "; ".join(problems[:3]),
    )
  columns = {"number", "length", *names.values()}
  return {key: [row[key] for row in rows] for key in sorted(columns)}


def _plain(value: Any) -> Any:
  """A number or a string."""
  value = value.item() if isinstance(value, (np.generic, np.ndarray)) else value
  return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
