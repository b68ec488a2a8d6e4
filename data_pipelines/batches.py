"""Batches of examples, as NumPy: endless for training, or a fixed set.

A batch is a dict of the stacked arrays of its examples, with "index" uint32 [B]
and "mask" bool [B]. Step `n` holds the examples `n * batch_size` and on, of
which host `p` of `P` reads the `p`-th of `P` equal parts.

Examples of different length go to buckets. An epoch is a list of batches: its
indices are grouped by the shortest bucket that their tabled length fits in,
each group is cut into batches (the last is topped up from the group's start),
and the list is shuffled by the seed and the epoch. All batches of a bucket have
one shape. The position in a run is still an integer, the step.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from data_pipelines import sampling
from data_pipelines.crops import pad_to
from data_pipelines.examples import BucketedExamples, Examples
from data_pipelines.stream import Batch, Stream

__all__ = ["batches"]

# Indices of a step, which of them count, and the length to pad to.
Plan = tuple[np.ndarray, np.ndarray, int | None]
# A stream of draws of its own.
_BATCH_ORDER = 100


def batches(
  examples: Examples,
  *,
  batch_size: int,
  start_step: int = 0,
  num_examples: int | None = None,
  process_index: int = 0,
  process_count: int = 1,
  num_threads: int | None = None,
  buckets: Sequence[int] | None = None,
) -> Any:
  """Batches of examples.

  Args:
    examples: What is read for each index.
    batch_size: Examples of a step, over all hosts.
    start_step: The first step, to resume a run.
    num_examples: None never ends. A number takes the examples from 0 to this
      at each iteration; the last batch, or that of each bucket, is filled up
      with earlier examples, whose "mask" is False.
    process_index: Number of this host.
    process_count: Number of hosts.
    num_threads: Batches read at a time; None uses one thread per core.
    buckets: Lengths that `BucketedExamples` are padded to, each array by its
      own ratio. A fixed set goes through the buckets in order.

  Returns:
    An iterator without end; with `num_examples`, an iterable with a length.

  Raises:
    CorpusError: While iterating, if too many files are broken.
    ValueError: If an option is out of range, or an example fits no bucket.
  """
  if not 0 <= process_index < process_count:
    raise ValueError(
      f"process_index is {process_index}, expected 0 to {process_count - 1}"
    )
  for name, value in (
    ("batch_size", batch_size),
    ("num_examples", num_examples),
    ("num_threads", num_threads),
  ):
    if value is not None and value < 1:
      raise ValueError(f"{name} is {value}, expected at least 1")
  if batch_size % process_count:
    raise ValueError(
      f"batch_size is {batch_size}, expected a multiple of the number of hosts,"
      f" {process_count}"
    )
  local = batch_size // process_count
  here = slice(process_index * local, (process_index + 1) * local)
  if start_step < 0:
    raise ValueError(f"start_step is {start_step}, expected 0 or more")
  plan, num_steps = _plans(examples, batch_size, num_examples, buckets)

  def read(step: int) -> Batch:
    index, mask, length = plan(step)
    index, mask = index[here], mask[here]
    batch = _stacked(examples, index.tolist(), length)
    return batch | {"index": (index % 2**32).astype(np.uint32), "mask": mask}

  stream = Stream(
    read, first=start_step, stop=num_steps, num_threads=num_threads
  )
  return iter(stream) if num_examples is None else stream


def _stacked(examples: Any, index: list[int], length: int | None) -> Batch:
  """Examples as one batch; each is copied while it is in the cache."""
  batch: Batch = {}
  place_of: dict[int, int] = {}
  for place, i in enumerate(index):
    if i in place_of:
      for array in batch.values():
        array[place] = array[place_of[i]]
      continue
    place_of[i] = place
    for name, value in examples.read(i).items():
      if length is not None and name in examples.padded:
        # The small number is for ratios that are not exact in binary.
        most = math.ceil(length * examples.padded[name] - 1e-6)
        if value.shape[-1] > most:
          raise ValueError(
            f"{name} has {value.shape[-1]} samples, more than max_length"
            f" promised, and its bucket of {length} holds {most}"
          )
        value = pad_to(value, most)
      value = np.asarray(value)
      array = batch.get(name)
      if array is None:
        shape = (len(index), *value.shape)
        array = batch[name] = np.empty(shape, value.dtype)
      if array.shape[1:] != value.shape:
        raise ValueError(
          f"{name} of example {i} has shape {value.shape}, of others"
          f" {array.shape[1:]}; lengths that differ need buckets"
        )
      array[place] = value
  return batch


def _plans(
  examples: Any,
  batch_size: int,
  num_examples: int | None,
  buckets: Sequence[int] | None,
) -> tuple[Callable[[int], Plan], int | None]:
  """What each step holds, and how many steps there are."""
  if buckets is not None:
    bounds = np.unique(np.asarray(buckets, dtype=np.int64))
    if num_examples is not None:
      groups = _grouped(examples, np.arange(num_examples), bounds)
      fixed = _fixed_plans(groups, batch_size)
      return fixed.__getitem__, len(fixed)
    return _epoch_plans(examples, batch_size, bounds), None

  def consecutive(step: int) -> Plan:
    index = np.arange(step * batch_size, (step + 1) * batch_size)
    if num_examples is None:
      return index, np.ones(batch_size, dtype=bool), None
    # Filled up with real examples, as silence is an edge case for metrics.
    return index % num_examples, index < num_examples, None

  if num_examples is None:
    return consecutive, None
  return consecutive, math.ceil(num_examples / batch_size)


def _grouped(
  examples: BucketedExamples, index: np.ndarray, bounds: np.ndarray
) -> list[tuple[int, np.ndarray]]:
  """The bucket lengths that are needed, with the indices of each."""
  length = examples.max_length(index)
  if len(bounds) == 0 or length.max() > bounds[-1]:
    raise ValueError(
      f"an example of {length.max()} samples fits in none of the buckets"
      f" {bounds.tolist()}"
    )
  bucket = np.searchsorted(bounds, length)
  return [
    (int(bounds[b]), index[bucket == b]) for b in np.unique(bucket).tolist()
  ]


def _fixed_plans(groups, batch_size: int) -> list[Plan]:
  """Each index once; batches that are not full repeat their last example."""
  plans = []
  for length, index in groups:
    for first in range(0, len(index), batch_size):
      part = index[first : first + batch_size]
      mask = np.arange(batch_size) < len(part)
      part = np.pad(part, (0, batch_size - len(part)), mode="edge")
      plans.append((part, mask, length))
  return plans


def _epoch_plans(
  examples: BucketedExamples, batch_size: int, bounds: np.ndarray
) -> Callable[[int], Plan]:
  """Steps of endless epochs of full batches, in a new order each epoch."""
  size = examples.epoch_size

  @functools.lru_cache(2)
  def plans_of(epoch: int) -> list[Plan]:
    index = np.arange(size) + epoch * size
    plans = []
    for length, group in _grouped(examples, index, bounds):
      num_steps = math.ceil(len(group) / batch_size)
      # np.resize repeats from the start of the group.
      for part in np.resize(group, (num_steps, batch_size)):
        plans.append((part, np.ones(batch_size, dtype=bool), length))
    number = np.arange(len(plans))
    order = sampling.bits(examples.seed, _BATCH_ORDER, epoch, number)
    return [plans[i] for i in np.argsort(order)]

  num_steps = len(plans_of(0))

  def plan(step: int) -> Plan:
    epoch, place = divmod(step, num_steps)
    plans = plans_of(epoch)
    if len(plans) != num_steps:
      raise ValueError(
        "max_length must give the same lengths in each epoch, but epoch"
        f" {epoch} has {len(plans)} batches and the first {num_steps}"
      )
    return plans[place]

  return plan
