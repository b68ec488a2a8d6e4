"""Draws which utterances are mixed, and at which levels."""

from __future__ import annotations

import collections
import functools
import itertools
import math
import posixpath
from collections.abc import Iterator

import numpy as np

from data_pipelines import sampling
from data_pipelines._mixture_table import MixtureList
from data_pipelines.files import CorpusError
from data_pipelines.table import Corpus

# More combinations than anyone evaluates on.
_MAX_EXAMPLES = 200_000
# Streams of draws.
_ORDER, _SNR, _PICK = range(3)


def active_rms(samples: np.ndarray, rate_hz: int) -> float:
  """RMS over the 20-ms frames that are within 40 dB of the loudest.

  Args:
    samples: Signal, `[T]`.
    rate_hz: Its rate.

  Returns:
    The level; 0 for silence.

  Example:
    >>> tone = np.sin(np.arange(8000))
    >>> round(active_rms(np.append(tone, np.zeros(24000)), 8000), 3)
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

  Of two sources, the first is raised by an SNR drawn from the range and the
  second lowered by it, as in WSJ0-2mix; which one is first is drawn too. Of
  more, sources 1 and 2, 3 and 4 ... are such pairs, and an odd last one stays
  where it is.

  Args:
    corpus: The utterances; all of them are read.
    num_sources: Sources of each mixture, each of another speaker.
    num_examples: How many different combinations of utterances to draw; None
      takes all there are.
    snr_range_db: Range of the draw in dB.
    mode: "min" cuts a mixture at the end of its shortest source, "max" goes
      on to the end of the longest, with zeros after the others.
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
  if len(set(corpus.rate_hz.tolist())) > 1:
    raise CorpusError(
      f"{corpus.title} has files of several rates"
      f" ({sorted(set(corpus.rate_hz.tolist()))}); a list needs one"
    )
  if num_examples is None:
    every = _all(corpus, num_sources)
    chosen = list(itertools.islice(every, _MAX_EXAMPLES + 1))
    if len(chosen) > _MAX_EXAMPLES:
      raise CorpusError(
        f"more than {_MAX_EXAMPLES} combinations; give num_examples"
      )
  else:
    chosen = _drawn(corpus, num_sources, num_examples, seed)
  rows = np.array(chosen).reshape(-1, num_sources)
  keys = sampling.bits(
    seed, _ORDER, np.arange(len(rows))[:, None], np.arange(num_sources)
  )
  rows = np.take_along_axis(rows, np.argsort(keys, axis=1), axis=1)
  low, high = snr_range_db
  num_pairs = num_sources // 2
  drawn = low + (high - low) * sampling.uniform(
    seed, _SNR, np.arange(len(rows))[:, None], np.arange(num_pairs)
  )
  snr_db = np.zeros(rows.shape)
  snr_db[:, 0 : 2 * num_pairs : 2] = drawn
  snr_db[:, 1 : 2 * num_pairs : 2] = -drawn
  return with_levels(corpus, rows, snr_db, mode)


def _all(corpus: Corpus, num_sources: int) -> Iterator[tuple[int, ...]]:
  """Every combination of utterances of different speakers."""
  for rows in itertools.combinations(range(len(corpus)), num_sources):
    if len(set(corpus.speaker[list(rows)].tolist())) == num_sources:
      yield rows


def _drawn(corpus, num_sources: int, num_examples: int, seed: int):
  """Different combinations, each as likely as any other."""
  if not 1 <= num_examples <= _MAX_EXAMPLES:
    raise ValueError(
      f"num_examples is {num_examples}, expected 1 to {_MAX_EXAMPLES}"
    )
  found = {}
  patience = 100 * num_examples + 10_000
  for number in range(patience):
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


def with_levels(
  corpus: Corpus,
  rows: np.ndarray,
  snr_db: np.ndarray,
  mode: str,
  ids: list[str] | None = None,
) -> MixtureList:
  """The list of `rows` [M, S], with gains worked out from the utterances.

  Each source is raised by `snr_db` [M, S] above equal active level.
  """
  # Lists of all pairs come back to an utterance soon, long lists do not.
  read = functools.lru_cache(256)(corpus.read)

  @functools.cache
  def level_of(row):
    level = active_rms(read(row), int(corpus.rate_hz[row]))
    if level == 0:
      raise CorpusError(f"{corpus.full_path(row)}: is silent")
    return level

  length = mixture_length(corpus, rows, mode)
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
  return list_of(corpus, rows, length, gain, ids or _ids(corpus.path[rows]))


def mixture_length(corpus: Corpus, rows: np.ndarray, mode: str) -> np.ndarray:
  """Samples of mixtures of `rows` [M, S] that end with a source, [M]."""
  if mode not in ("min", "max"):
    raise ValueError(f"mode is {mode!r}, expected 'min' or 'max'")
  return getattr(corpus.length[rows], mode)(axis=1)


def list_of(corpus: Corpus, rows, length, gain, ids) -> MixtureList:
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

  def joined(of_path):
    return ["_".join(map(of_path, row)) for row in paths.tolist()]

  short = joined(lambda path: _stem(posixpath.basename(path)))
  # Folders only where they are needed: names are short, and stay what they are
  # in the lists that exist.
  long = joined(lambda path: _stem(path).replace("/", "-"))
  times = collections.Counter(short)
  ids, seen = [], collections.Counter()
  for name, full in zip(short, long, strict=True):
    name = full if times[name] > 1 else name
    seen[name] += 1
    # Utterances of one file, or files that differ in their suffix alone.
    ids.append(f"{name}-{seen[name]}" if seen[name] > 1 else name)
  return ids


def _stem(path: str) -> str:
  return posixpath.splitext(path)[0]
