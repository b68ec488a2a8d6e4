"""Signals that end a run after its checkpoint."""

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def noted_signals() -> Iterator[list[int]]:
  """Records the first SIGTERM or SIGINT instead of ending the process.

  A second signal acts as usual. Outside the main thread nothing is recorded.
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
