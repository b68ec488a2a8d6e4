"""Signals that end a run in good order."""

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def noted_signals() -> Iterator[list[int]]:
  """Notes SIGTERM or SIGINT in a list, instead of dying of it, once.

  A second signal acts as usual, so an impatient user still gets out. Outside
  the main thread nothing is noted.
  """
  came: list[int] = []
  before = {}

  def note(number, frame):
    del frame
    came.append(number)
    restore()

  def restore():
    for number, handler in before.items():
      signal.signal(number, handler)
    before.clear()

  if threading.current_thread() is threading.main_thread():
    for number in (signal.SIGTERM, signal.SIGINT):
      before[number] = signal.signal(number, note)
  try:
    yield came
  finally:
    restore()
