"""Runs a function over step numbers in the background, in order."""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import Callable, Iterator

import numpy as np

from data_pipelines._tensorflow import hide_accelerators, tf

__all__ = ["Batch", "Stream", "StreamIterator"]

Batch = dict[str, np.ndarray]


def default_num_threads() -> int:
  """The cores that this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def check_hosts(batch_size: int, process_index: int, process_count: int) -> int:
  """The examples of a batch that one host reads; raises if they are uneven."""
  if not 0 <= process_index < process_count:
    raise ValueError(
      f"process_index is {process_index}, expected 0 to {process_count - 1}"
    )
  if batch_size < 1 or batch_size % process_count:
    raise ValueError(
      f"batch_size is {batch_size}, expected a multiple of the"
      f" {process_count} hosts"
    )
  return batch_size // process_count


class Stream:
  """Batches `read(first)`, `read(first + 1)` ... in this order.

  Batches are read in parallel, a batch a thread, ahead of their use. Each
  iteration starts anew.
  """

  def __init__(
    self,
    read: Callable[[int], Batch],
    *,
    first: int,
    stop: int | None,
    num_threads: int | None,
  ):
    """Sets up the pipeline; nothing is read yet.

    `read` is called from several threads and gives batches of the same names
    and dtypes; `stop` None never stops; `num_threads` None is one a core.
    """
    self._read, self._first = read, first
    self._stop = np.iinfo(np.int64).max if stop is None else stop
    self._num_threads = num_threads or default_num_threads()

  def __len__(self) -> int:
    """Number of batches."""
    return max(self._stop - self._first, 0)

  def __iter__(self) -> StreamIterator:
    """Starts reading."""
    return StreamIterator(
      self._read, self._first, self._stop, self._num_threads
    )


class _Work:
  """What the threads of tf.data do: read, and leave the batch for pick-up.

  Only step numbers travel through TensorFlow, so batches are not copied, and
  an error arrives as itself and not as a text within TensorFlow's own.
  """

  def __init__(self, read):
    self.closed = False
    self._read = read
    self._ready = {}

  def do(self, step):
    step = int(step)
    if not self.closed:
      try:
        self._ready[step] = self._read(step)
      except Exception as error:
        self._ready[step] = error
    return np.int64(step)

  def pick_up(self, step):
    return self._ready.pop(step)

  def close(self):
    self.closed = True
    self._ready = {}


class StreamIterator(Iterator[Batch]):
  """One pass through a `Stream`.

  An error of the reading function is raised by `next` at its step, as it is,
  and again at every later call.
  """

  def __init__(self, read, first, stop, num_threads):
    """See `Stream`."""
    hide_accelerators()
    self._failure = None
    self._work = work = _Work(read)
    _OPEN.add(self)
    dataset = tf.data.Dataset.range(first, stop)
    dataset = dataset.map(
      lambda step: tf.numpy_function(work.do, [step], tf.int64),
      num_parallel_calls=num_threads,
      deterministic=True,
    ).prefetch(2)  # Batches kept ready beyond those being read.
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    options.threading.private_threadpool_size = num_threads + 1
    self._steps = iter(dataset.with_options(options).as_numpy_iterator())

  def __next__(self) -> Batch:
    """The next batch."""
    if self._failure is not None:
      raise self._failure
    interrupt = None
    try:
      step = int(next(self._steps))
    except StopIteration:
      raise
    except BaseException as error:
      # Ctrl-C or a signal handler. The frames of the traceback would keep
      # TensorFlow's iterator, and so its threads, until Python is gone, and
      # the process would hang in the end.
      interrupt = error.with_traceback(None)
    if interrupt is not None:
      self.close()
      raise interrupt
    if self._work.closed:  # By another thread, or because Python ends.
      raise StopIteration
    result = self._work.pick_up(step)
    if isinstance(result, Exception):
      self.close()
      self._failure = result
      raise result
    return result

  def close(self) -> None:
    """Stops reading; batches in the making are dropped."""
    self._work.close()
    self._steps = iter(())

  def __del__(self):
    # Without this the threads would read on until their buffer is full.
    self._work.closed = True


_OPEN: weakref.WeakSet[StreamIterator] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
  """Ends reading before Python does: a thread that waits for it never ends."""
  for iterator in list(_OPEN):
    iterator.close()
