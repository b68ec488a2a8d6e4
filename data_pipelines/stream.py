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


class Stream:
  """Batches `read(first)`, `read(first + 1)` ... in this order.

  Each thread reads a whole batch, ahead of its use. Each iteration starts anew.
  """

  def __init__(
    self,
    read: Callable[[int], Batch],
    *,
    first: int,
    stop: int | None,
    num_threads: int | None,
  ):
    """Stores the options; nothing is read yet.

    `read` is called from several threads. Without `stop` there is no end;
    without `num_threads` there is one thread per core of this process.
    """
    if num_threads is None:
      allowed = getattr(os, "sched_getaffinity", None)
      num_threads = len(allowed(0)) if allowed else os.cpu_count() or 1
    self._read, self._first = read, first
    self._stop = np.iinfo(np.int64).max if stop is None else stop
    self._num_threads = num_threads

  def __len__(self) -> int:
    """Number of batches."""
    return max(self._stop - self._first, 0)

  def __iter__(self) -> StreamIterator:
    """Starts reading."""
    return StreamIterator(
      self._read, self._first, self._stop, self._num_threads
    )


class _Work:
  """What the threads of tf.data do: they read a batch and leave it here.

  TensorFlow passes on step numbers only, so that batches are not copied and
  errors keep their type.
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

  `next` raises an error of the reading function at its step, and again at
  every later call.
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
    ).prefetch(2)
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
      # Ctrl-C or a signal handler. The traceback would keep TensorFlow's
      # iterator and its threads alive, and the process would never end.
      interrupt = error.with_traceback(None)
    if interrupt is not None:
      self.close()
      raise interrupt
    if self._work.closed:  # By another thread or the end of Python.
      raise StopIteration
    result = self._work.pick_up(step)
    if isinstance(result, Exception):
      self.close()
      self._failure = result
      raise result
    return result

  def close(self) -> None:
    """Stops reading; batches that are being read are dropped."""
    self._work.close()
    self._steps = iter(())

  def __del__(self):
    # Otherwise the threads read on until their buffer is full.
    self._work.closed = True


_OPEN: weakref.WeakSet[StreamIterator] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
  """Stops all readers at interpreter exit; a waiting thread would block it."""
  for iterator in list(_OPEN):
    iterator.close()
