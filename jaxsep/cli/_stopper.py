"""Signals that end the input of a stream."""

import contextlib
import os
import select
import signal
import threading


class Stopper(contextlib.AbstractContextManager):
  """Turns Ctrl-C and SIGTERM into an end of the input.

  Attributes:
    signal: Number of the signal that came, or None.
  """

  def __init__(self):
    self.signal: int | None = None
    self._before = {}

  def __enter__(self):
    # Python lets only the main thread handle signals.
    if threading.current_thread() is threading.main_thread():
      for number in (signal.SIGINT, signal.SIGTERM):
        self._before[number] = signal.signal(number, self._handle)
    return self

  def __exit__(self, *unused):
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def _handle(self, number, unused_frame):
    self.signal = number

  def read(self, descriptor: int, count: int) -> bytes:
    """What is there, at most so many bytes; none at the end or a signal."""
    while self.signal is None:
      # Not for ever: a signal does not end the wait.
      if select.select([descriptor], [], [], 0.1)[0]:
        return os.read(descriptor, count)
    return b""
