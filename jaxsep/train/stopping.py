"""Signals that end a run in good order."""

import signal
import threading
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopper:
  """Notes SIGTERM and SIGINT instead of dying of them, once.

  A second signal does what it would have done without the stopper, so an
  impatient user still gets out. Used as a context manager, in the main thread;
  elsewhere it notes nothing.

  Attributes:
    signal: Number of the signal that came, or None.
  """

  def __init__(self):
    self.signal: int | None = None
    self._before: dict[int, Any] = {}

  def __enter__(self) -> "Stopper":
    if threading.current_thread() is threading.main_thread():
      for number in _SIGNALS:
        self._before[number] = signal.signal(number, self._note)
    return self

  def __exit__(self, *error: Any) -> None:
    self._restore()

  def _note(self, number, frame):
    del frame
    self.signal = number
    self._restore()

  def _restore(self):
    for number, handler in self._before.items():
      signal.signal(number, handler)
    self._before = {}
