"""Fixed lists of mixtures for evaluation, as CSV, and reading them.

A list says which utterances are mixed at which levels; it holds no audio. A
row has `id`, `rate_hz` and `length` (samples of the mixture at that rate),
and for each source `n`: `path_n` relative to the corpus, `start_n`
(first sample), `length_n` (samples taken) and `gain_db_n` (applied to the
samples of the file as they are).

Levels follow the recipe of WSJ0-2mix: sources are brought to the same active
level, moved apart by their SNRs, and mixture and sources are scaled
by the same gain, such that the highest peak of them all is at most 0.9. As
active level stands the RMS over the frames within 40 dB of the loudest one,
not the filter of ITU-T P.56. All of this is worked into the gains, so that
reading a list is no more than a weighted sum.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os

import numpy as np

from data_pipelines import scanning
from data_pipelines._mixture_making import active_rms, make_pair_list
from data_pipelines._mixture_table import (
  MixtureList,
  mistake_in,
  read_list,
  write_list,
)
from data_pipelines.files import CorpusError, Reader, checked_length, read_file
from data_pipelines.mixture_batches import premixed_eval_batches
from data_pipelines.stream import Stream

__all__ = [
  "MixtureList",
  "OpenedList",
  "active_rms",
  "list_batches",
  "make_pair_list",
  "open_list",
  "read_list",
  "write_list",
]


@dataclasses.dataclass(frozen=True, eq=False)
class OpenedList:
  """A list and the files it speaks of: reads like a `PremixedCorpus`.

  Attributes:
    mixtures: The list.
    root: Folder that the paths of the list start from.
    reader: Reads `(full path, first sample, number of samples)`.
  """

  mixtures: MixtureList
  root: str
  reader: Reader = read_file

  def __len__(self) -> int:
    """Number of mixtures."""
    return len(self.mixtures)

  @property
  def name(self) -> np.ndarray:
    """Name of each mixture."""
    return self.mixtures.id

  def top_folders(self, row: int) -> list[str]:
    """First folders of a mixture's files: in many corpora, its talkers.

    Args:
      row: Number of the mixture.

    Returns:
      The names, each once, in order.
    """
    paths = self.mixtures.path[row]
    return sorted({path.split("/", 1)[0] for path in paths})

  @property
  def length(self) -> np.ndarray:
    """Samples of each mixture at `rate_hz`."""
    return self.mixtures.length

  @property
  def rate_hz(self) -> np.ndarray:
    """Rate of each mixture's files."""
    return self.mixtures.rate_hz

  @property
  def num_sources(self) -> int:
    """Sources in each mixture."""
    return self.mixtures.num_sources

  @property
  def has_noise(self) -> bool:
    """No: a list is of speakers only."""
    return False

  def read(
    self, row: int, start: int = 0, length: int | None = None
  ) -> np.ndarray:
    """Part of a mixture and of its sources.

    Args:
      row: Row of the list.
      start: First sample.
      length: Number of samples; None reads to the end.

    Returns:
      float32 samples at `rate_hz[row]`, shape `[1 + S, length]`: the mixture,
      which is the sum of the others, and the sources.

    Raises:
      CorpusError: If a file is damaged; the message names it.
      ValueError: If the mixture has no such samples.
    """
    name, total = str(self.name[row]), int(self.length[row])
    length = checked_length(name, start, length, total)
    parts = np.zeros((1 + self.num_sources, length), dtype=np.float32)
    for source in range(self.num_sources):
      end = min(start + length, int(self.mixtures.source_length[row, source]))
      if end <= start:
        continue
      samples = self.reader(
        os.path.join(self.root, self.mixtures.path[row, source]),
        int(self.mixtures.start[row, source]) + start,
        end - start,
      )
      gain = np.float32(10 ** (self.mixtures.gain_db[row, source] / 20))
      parts[1 + source, : len(samples)] = gain * samples
    parts[0] = parts[1:].sum(axis=0)
    return parts


def open_list(
  mixtures: MixtureList,
  root: str | os.PathLike[str],
  *,
  num_threads: int = 8,
) -> OpenedList:
  """Finds the files of a list and checks them against it.

  Args:
    mixtures: The list.
    root: Folder that its paths start from.
    num_threads: Files looked at in parallel.

  Returns:
    What `list_batches` reads from.

  Raises:
    CorpusError: If the list holds what cannot be meant, or a file is missing,
      broken, of another rate or too short.
  """
  if mistake := mistake_in(mixtures):
    row, what = mistake
    raise CorpusError(f"mixture {mixtures.id[row]}: {what}")
  root = scanning.require_folder(root, what="the corpus of the list")
  paths, inverse = np.unique(mixtures.path.astype(str), return_inverse=True)
  with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
    found = list(
      pool.map(lambda p: scanning.probe(os.path.join(root, p)), paths.tolist())
    )
  for path, (length, _, error) in zip(paths, found, strict=True):
    if error or not length:
      raise CorpusError(
        f"{os.path.join(root, path)}: {error or 'is empty'}; the list needs it"
      )
  inverse = inverse.reshape(mixtures.path.shape)
  rate_hz = np.array([entry[1] for entry in found])[inverse]
  num_samples = np.array([entry[0] for entry in found])[inverse]
  needed = mixtures.start + mixtures.source_length
  wrong = (rate_hz != mixtures.rate_hz[:, None]).any(axis=1)
  short = (num_samples < needed).any(axis=1)
  for bad, what in ((wrong, "of another rate"), (short, "shorter")):
    if bad.any():
      m = int(np.argmax(bad))
      raise CorpusError(
        f"mixture {mixtures.id[m]}: its files under {root} are {what} than"
        " those the list was made from"
      )
  return OpenedList(mixtures, root)


def list_batches(
  mixtures: MixtureList,
  root: str | os.PathLike[str],
  *,
  sample_rate_hz: int,
  length_multiple: int,
  batch_size: int,
  max_length: int | None = None,
  process_index: int = 0,
  process_count: int = 1,
  num_threads: int | None = None,
) -> Stream:
  """The mixtures of a list, whole, those of one length together.

  Args:
    mixtures: The list.
    root: Folder that its paths start from.
    sample_rate_hz: Rate of the mixtures.
    length_multiple: Mixtures are cut down to a multiple of this; see
      `mixture_batches.premixed_eval_batches`.
    batch_size: Mixtures of a batch, over all hosts.
    max_length: Cut down to this at least.
    process_index: Number of this host.
    process_count: Number of hosts.
    num_threads: Batches read at a time.

  Returns:
    Batches of "mixture", "reference", "length", "mask" and "index", the row
    of the list; to be iterated as often as wanted.

  Raises:
    CorpusError: If a file is missing; while iterating, if one is broken.
    ValueError: If an option is out of range.
  """
  return premixed_eval_batches(
    open_list(mixtures, root),
    batch_size=batch_size,
    sample_rate_hz=sample_rate_hz,
    length_multiple=length_multiple,
    max_length=max_length,
    process_index=process_index,
    process_count=process_count,
    num_threads=num_threads,
  )
