"""Packs a corpus as a tfds dataset, for a folder or a bucket.

  python -m data_pipelines.build_tfds --corpus=librispeech:LibriSpeech \
    --split=train --name=libri_train --data_dir=/data/tfds

Read it back as `tfds:libri_train@/data/tfds`. Audio is stored as it is, as
FLAC where that loses nothing and else as floating-point WAV, in shards of
array_record written by tfds. `--beam` builds large corpora in parallel and
needs `pip install 'jaxsep[beam]'`.
"""

from __future__ import annotations

import argparse
import functools
import io
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import soundfile
import tensorflow_datasets as tfds

from data_pipelines import corpora
from data_pipelines._tensorflow import hide_accelerators
from data_pipelines.files import CorpusError
from data_pipelines.table import Corpus
from data_pipelines.tfds_corpora import STACKED


def build(
  splits: Mapping[str, Corpus],
  *,
  name: str,
  data_dir: str | os.PathLike[str],
) -> str:
  """Writes corpora of the same columns as splits by name; their folder."""
  records = {split: _records(corpus) for split, corpus in splits.items()}
  return _build(records, next(iter(splits.values())), name, data_dir)


def build_with_beam(
  spec: str,
  options: Mapping[str, Any],
  *,
  name: str,
  data_dir: str | os.PathLike[str],
  split: str = "train",
) -> str:
  """As `build`, of one split by Beam; each worker opens `spec` itself."""
  try:
    import apache_beam as beam
  except ImportError:
    raise CorpusError(
      "building with Beam needs apache-beam: pip install 'jaxsep[beam]'"
    ) from None

  items = tuple(options.items())
  corpus = _open_once(spec, items)
  records = beam.Create(range(len(corpus))) | beam.Map(
    functools.partial(_record_of, spec, items)
  )
  return _build({split: records}, corpus, name, data_dir)


class _Builder(tfds.dataset_builders.AdhocBuilder, skip_registration=True):
  """Without this, tfds looks for files beside the code of the builder."""

  code_path = None


def _check_name(name: str) -> None:
  """Refuses names that tfds writes but does not find again."""
  if not re.fullmatch("[a-z][a-z0-9_]*", name):
    raise CorpusError(
      f"name is {name!r}; tfds takes a-z, 0-9 and _ after a letter, such as"
      " libri_train"
    )


def _build(records, corpus: Corpus, name, data_dir) -> str:
  _check_name(name)
  hide_accelerators()
  builder = _Builder(
    name=name,
    version="1.0.0",
    features=_features(corpus),
    split_datasets=records,
    data_dir=os.fspath(data_dir),
    description=f"{corpus.title}, packed by data_pipelines.build_tfds",
    file_format="array_record",
    disable_shuffling=True,
  )
  if builder.is_prepared():
    raise CorpusError(f"{builder.data_dir}: is there already")
  builder.download_and_prepare()
  return os.fspath(builder.data_dir)


def _features(corpus: Corpus) -> tfds.features.FeaturesDict:
  """The features of a row."""
  features: dict[str, Any] = {
    "audio": tfds.features.Tensor(shape=(), dtype=np.bytes_),
    "file": tfds.features.Text(),
    "length": np.int64,
    "rate_hz": np.int64,
    "parts": tfds.features.Text(),
  }
  if clash := sorted(features.keys() & corpus.columns.keys()):
    raise CorpusError(f"columns cannot be called {', '.join(clash)}")
  for name, column in corpus.columns.items():
    types = {"i": np.int64, "u": np.int64, "f": np.float64, "b": np.bool_}
    features[name] = types.get(column.dtype.kind) or tfds.features.Text()
  return tfds.features.FeaturesDict(features)


def _records(corpus: Corpus) -> Iterator[tuple[int, dict[str, Any]]]:
  for row in range(len(corpus)):
    yield row, _record(corpus, row)


def _record(corpus: Corpus, row: int) -> dict[str, Any]:
  """A row as tfds stores it."""
  record = {
    "audio": _encoded(corpus.read(row), int(corpus.rate_hz[row])),
    "file": corpus.path[row],
    "length": int(corpus.length[row]),
    "rate_hz": int(corpus.rate_hz[row]),
    "parts": " ".join(corpus.parts),
  }
  for name, column in corpus.columns.items():
    value = column[row]
    record[name] = value if column.dtype.kind != "O" else str(value)
  return record


@functools.cache
def _open_once(spec: str, items: tuple) -> Corpus:
  return corpora.open_corpus(spec, **dict(items))


def _record_of(spec: str, items: tuple, row: int) -> tuple[int, dict]:
  return row, _record(_open_once(spec, items), row)


def _encoded(samples: np.ndarray, rate_hz: int) -> bytes:
  """A file that gives back exactly these samples, `[T]` or `[P, T]`."""
  kind, subtype = "WAV", "FLOAT"
  for bits in (16, 24):
    limit = 2.0 ** (bits - 1)
    scaled = samples * np.float64(limit)
    # FLAC has 8 channels at most, so stacked parts are floating-point.
    fits = samples.ndim == 1 and -limit <= scaled.min() <= scaled.max() < limit
    if fits and (scaled == np.round(scaled)).all():
      kind, subtype = "FLAC", f"PCM_{bits}"
      break
  stored = io.BytesIO()
  with soundfile.SoundFile(
    stored,
    "w",
    samplerate=rate_hz,
    channels=1 if samples.ndim == 1 else len(samples),
    format=kind,
    subtype=subtype,
  ) as file:
    if samples.ndim == 2:
      file.comment = STACKED
    file.write(samples.T)
  return stored.getvalue()


def main(argv: Sequence[str] | None = None) -> int:
  """Opens a corpus and packs it; a user's mistake ends in one line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--corpus", required=True, help="as layout:where")
  parser.add_argument("--name", required=True, help="of the dataset")
  parser.add_argument("--data_dir", required=True, help="where to write it")
  parser.add_argument("--split", help="split of the corpus, also to write")
  parser.add_argument("--cache_dir", help="where to remember scans")
  parser.add_argument("--beam", action="store_true", help="build in parallel")
  flags = parser.parse_args(argv)
  options = {"split": flags.split, "cache_dir": flags.cache_dir}
  here = {"name": flags.name, "data_dir": flags.data_dir}
  split = flags.split or "train"
  try:
    _check_name(flags.name)
    if flags.beam:
      print(build_with_beam(flags.corpus, options, **here, split=split))
    else:
      corpus = corpora.open_corpus(flags.corpus, **options)
      print(build({split: corpus}, **here))
  except (CorpusError, ImportError, OSError) as error:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return 1
  return 0


if __name__ == "__main__":
  sys.exit(main())
