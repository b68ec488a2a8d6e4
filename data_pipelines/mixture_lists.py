"""Fixed lists of mixtures for evaluation: drawn, published, written, read.

A list says which utterances are mixed at which levels; it holds no audio. A
row of its CSV file has `id`, `rate_hz` and `length` (samples of the mixture),
and for each source `n`: `path_n` relative to the corpus, `start_n` (first
sample), `length_n` (samples taken) and `gain_db_n` (gain of these samples).

Levels follow the recipe of WSJ0-2mix: sources are brought to the same active
level, moved apart by their SNRs, and scaled together with their mixture to a
highest peak of 0.9. The active level is the RMS over the frames within 40 dB
of the loudest one, not the filter of ITU-T P.56.
"""

from __future__ import annotations

import collections
import functools
import itertools
import math
import os
import posixpath

import numpy as np

from data_pipelines import sampling, scanning
from data_pipelines._mixture_table import (
  MixtureList,
  open_list,
  read_list,
  usable_headers,
  write_list,
)
from data_pipelines.files import CorpusError, read_csv, read_text
from data_pipelines.table import Corpus

__all__ = [
  "MixtureList",
  "make_pair_list",
  "open_list",
  "read_librimix",
  "read_list",
  "read_wsj0_mix",
  "rms_within_40_db",
  "write_list",
]

# Guards against lists that nobody evaluates on.
_MAX_EXAMPLES = 200_000
# Streams of draws.
_ORDER, _SNR, _PICK = range(3)


def rms_within_40_db(samples: np.ndarray, rate_hz: int) -> float:
  """RMS over the 20-ms frames that are within 40 dB of the loudest.

  Training measures another level: that of `jaxsep.simulate.active_rms`, over
  the 32-ms frames that are at most 15.9 dB below the mean.

  Args:
    samples: Signal, `[T]`.
    rate_hz: Its rate.

  Returns:
    The level; 0 for silence.

  Example:
    >>> tone = np.sin(np.arange(8000))
    >>> round(rms_within_40_db(np.append(tone, np.zeros(24000)), 8000), 3)
    0.707
  """
  frame = max(min(rate_hz // 50, len(samples)), 1)
  whole = samples[: len(samples) // frame * frame].astype(np.float64)
  power = np.square(whole.reshape(-1, frame)).mean(axis=1)
  if not power.size or power.max() == 0:
    return 0.0
  return math.sqrt(power[power >= power.max() * 1e-4].mean())


def make_pair_list(
  corpus: Corpus,
  *,
  num_sources: int = 2,
  num_examples: int | None = None,
  snr_range_db: tuple[float, float] = (0.0, 2.5),
  mode: str = "min",
  seed: int = 0,
) -> MixtureList:
  """Draws a list of mixtures of different speakers.

  As in WSJ0-2mix, of two sources in a drawn order the first is raised by a
  drawn SNR and the second lowered by it. Of more, sources 1 and 2, 3 and 4 ...
  are such pairs, and an odd last one is not moved.

  Args:
    corpus: The utterances; all of them are read.
    num_sources: Sources of each mixture, each of another speaker.
    num_examples: Number of different combinations of utterances; None takes
      all.
    snr_range_db: Range of the SNR in dB.
    mode: "min" cuts mixtures to their shortest source, "max" pads to the
      longest.
    seed: Seed of every draw.

  Returns:
    The list.

  Raises:
    CorpusError: If there are too few speakers or combinations, an utterance
      is silent, or utterances to be mixed have different rates.
    ValueError: If an option is out of range.
  """
  if num_sources < 1:
    raise ValueError(f"num_sources is {num_sources}, expected at least 1")
  if len(corpus.speakers) < num_sources:
    raise CorpusError(
      f"{corpus.title} has {len(corpus.speakers)} speakers,"
      f" too few for mixtures of {num_sources} different ones"
    )
  _check_one_rate(corpus)
  if num_examples is None:
    chosen = _all(corpus, num_sources)
  else:
    chosen = _drawn(corpus, num_sources, num_examples, seed)
  rows = np.array(chosen).reshape(-1, num_sources)
  number = np.arange(len(rows))[:, None]
  keys = sampling.bits(seed, _ORDER, number, np.arange(num_sources))
  rows = np.take_along_axis(rows, np.argsort(keys, axis=1), axis=1)
  low, high = snr_range_db
  num_pairs = num_sources // 2
  drawn = sampling.uniform(seed, _SNR, number, np.arange(num_pairs))
  drawn = low + (high - low) * drawn
  snr_db = np.zeros(rows.shape)
  snr_db[:, 0 : 2 * num_pairs : 2] = drawn
  snr_db[:, 1 : 2 * num_pairs : 2] = -drawn
  return _with_levels(corpus, rows, snr_db, mode)


def read_wsj0_mix(
  path: str | os.PathLike[str],
  root: str | os.PathLike[str],
  *,
  mode: str = "min",
) -> MixtureList:
  """A list of WSJ0-2mix or WSJ0-3mix, such as `mix_2_spk_tt.txt`.

  Each line has a path and a level in dB for each source. Levels are set as by
  the original scripts, but with `rms_within_40_db` at the rate of the files
  instead of the filter of ITU-T P.56 at 8 kHz, so they can differ by some
  tenths of a dB. Every utterance is read; keep the result with `write_list`.

  Args:
    path: The list.
    root: Folder that its paths start from, with the speech as WAV.
    mode: As for `make_pair_list`.

  Returns:
    The list, with the ids of the original file names.

  Raises:
    CorpusError: If a line or a file cannot be used.

  References:
    Hershey et al., "Deep clustering", ICASSP 2016; its
    create_wav_2speakers.m.
  """
  paths, levels, ids = [], [], []
  for number, line in enumerate(read_text(path).split("\n"), 1):
    if not (words := line.split()):
      continue
    try:
      level = [float(word) for word in words[1::2]]
    except ValueError:
      level = []
    paths.append(words[::2])
    levels.append(level)
    if not len(level) == len(paths[-1]) == len(paths[0]):
      raise CorpusError(
        f"{path}: line {number}: expected a path and a level in dB for each"
        f" of {len(paths[0])} sources"
      )
    names = [_stem(posixpath.basename(word)) for word in paths[-1]]
    pairs = zip(names, level, strict=True)
    ids.append("_".join(f"{name}_{db:.5g}" for name, db in pairs))
  corpus, rows = _files(path, root, paths)
  return _with_levels(corpus, rows, np.array(levels), mode, ids)


def read_librimix(
  path: str | os.PathLike[str],
  root: str | os.PathLike[str],
  *,
  mode: str = "min",
) -> MixtureList:
  """A metadata file of LibriMix, such as `libri2mix_test-clean.csv`.

  The mixtures are those of `mix_clean`: sources times gains, without noise.

  Args:
    path: The file, with `mixture_ID`, `source_1_path`, `source_1_gain` ...
    root: The LibriSpeech folder.
    mode: As for `make_pair_list`.

  Returns:
    The list, at the rate of the files.

  Raises:
    CorpusError: If a line or a file cannot be used.

  References:
    Cosentino et al., "LibriMix", 2020; its create_librimix_from_metadata.py.
  """
  names, lines = read_csv(path)
  numbers = [n for n in range(1, 10) if f"source_{n}_path" in names]
  if "mixture_ID" not in names or not numbers:
    raise CorpusError(
      f"{path}: has no columns mixture_ID, source_1_path, source_1_gain"
    )
  gains = []
  for number, row in lines:
    try:
      gains.append([float(row[f"source_{n}_gain"]) for n in numbers])
      good = min(gains[-1]) > 0
    except (KeyError, ValueError):
      good = False
    if not good:
      raise CorpusError(
        f"{path}: line {number}: the gains of {row['mixture_ID']} are not all"
        " positive numbers"
      )
  paths = [[row[f"source_{n}_path"] for n in numbers] for _, row in lines]
  corpus, rows = _files(path, root, paths)
  length = _mixture_length(corpus, rows, mode)
  ids = [row["mixture_ID"] for _, row in lines]
  return _list_of(corpus, rows, length, np.array(gains), ids)


def _files(path, root, paths: list[list[str]]) -> tuple[Corpus, np.ndarray]:
  """The files of a list, and which of them each mixture has, `[M, S]`."""
  root = scanning.require_folder(root, what=f"the corpus of {path}")
  if not paths:
    raise CorpusError(f"{path}: lists no mixture")
  names, rows = np.unique(np.array(paths), return_inverse=True)
  found = usable_headers(root, names.tolist())
  _, lengths, rates, _ = zip(*(found[n] for n in names.tolist()), strict=True)
  corpus = Corpus(names, np.zeros(len(names)), lengths, rates, root=root)
  _check_one_rate(corpus)
  return corpus, rows.reshape(len(paths), -1)


def _check_one_rate(corpus: Corpus) -> None:
  if len(rates := np.unique(corpus.rate_hz)) > 1:
    raise CorpusError(
      f"{corpus.title} has files of several rates ({rates.tolist()}); a list"
      " needs one"
    )


def _all(corpus: Corpus, num_sources: int) -> list[tuple[int, ...]]:
  """Every combination of utterances of different speakers."""
  found = []
  for rows in itertools.combinations(range(len(corpus)), num_sources):
    if len(set(corpus.speaker[list(rows)].tolist())) == num_sources:
      found.append(rows)
      if len(found) > _MAX_EXAMPLES:
        raise CorpusError(
          f"more than {_MAX_EXAMPLES} combinations; give num_examples"
        )
  return found


def _drawn(corpus, num_sources: int, num_examples: int, seed: int):
  """Different combinations, each as likely as any other."""
  if not 1 <= num_examples <= _MAX_EXAMPLES:
    raise ValueError(
      f"num_examples is {num_examples}, expected 1 to {_MAX_EXAMPLES}"
    )
  found = {}
  for number in range(100 * num_examples + 10_000):
    rows = sampling.below(
      len(corpus), seed, _PICK, number, np.arange(num_sources)
    )
    if len(set(corpus.speaker[rows].tolist())) == num_sources:
      found[tuple(sorted(rows.tolist()))] = None
      if len(found) == num_examples:
        return list(found)
  raise CorpusError(
    f"found {len(found)} different mixtures instead of {num_examples}; the"
    " corpus is too small for more"
  )


def _with_levels(
  corpus: Corpus,
  rows: np.ndarray,
  snr_db: np.ndarray,
  mode: str,
  ids: list[str] | None = None,
) -> MixtureList:
  """The list of `rows` [M, S], `snr_db` [M, S] above equal active level."""
  # Lists of all pairs read an utterance again soon.
  read = functools.lru_cache(256)(corpus.read)

  @functools.cache
  def level_of(row):
    level = rms_within_40_db(read(row), int(corpus.rate_hz[row]))
    if level == 0:
      raise CorpusError(f"{corpus.full_path(row)}: is silent")
    return level

  length = _mixture_length(corpus, rows, mode)
  gain = np.empty(rows.shape)
  for m, chosen in enumerate(rows.tolist()):
    gain[m] = [
      10 ** (snr / 20) / level_of(row)
      for row, snr in zip(chosen, snr_db[m], strict=True)
    ]
    mixture = np.zeros(length[m])
    peak = 1.0
    for row, g in zip(chosen, gain[m], strict=True):
      source = g * read(row)[: length[m]]
      mixture[: len(source)] += source
      peak = max(peak, np.abs(source).max())
    gain[m] *= 0.9 / max(peak, np.abs(mixture).max())
  return _list_of(corpus, rows, length, gain, ids or _ids(corpus.path[rows]))


def _mixture_length(corpus: Corpus, rows: np.ndarray, mode: str) -> np.ndarray:
  """Samples of mixtures of `rows` [M, S] that end with a source, [M]."""
  if mode not in ("min", "max"):
    raise ValueError(f"mode is {mode!r}, expected 'min' or 'max'")
  return getattr(corpus.length[rows], mode)(axis=1)


def _list_of(corpus: Corpus, rows, length, gain, ids) -> MixtureList:
  """The list of `rows` [M, S], each source times its gain."""
  return MixtureList(
    id=np.array(ids, dtype=object),
    rate_hz=corpus.rate_hz[rows[:, 0]],
    length=length,
    path=corpus.path[rows],
    start=corpus.start[rows],
    source_length=np.minimum(corpus.length[rows], length[:, None]),
    gain_db=20 * np.log10(gain),
  )


def _ids(paths) -> list[str]:
  """A name of its own for each mixture of the files `[M, S]`."""
  stems = [[_stem(path) for path in row] for row in paths.tolist()]
  short = ["_".join(map(posixpath.basename, row)) for row in stems]
  times, ids, seen = collections.Counter(short), [], collections.Counter()
  for name, row in zip(short, stems, strict=True):
    if times[name] > 1:  # Folders only where file names are not unique.
      name = "_".join(row).replace("/", "-")
    seen[name] += 1
    # Several utterances of a file, or files that differ in suffix only.
    ids.append(f"{name}-{seen[name]}" if seen[name] > 1 else name)
  return ids


def _stem(path: str) -> str:
  return posixpath.splitext(path)[0]
