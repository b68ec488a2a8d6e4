"""Keeps the notes of libmpg123 off the screen.

libsndfile reads MP3 with libmpg123, which prints a note for each thing that is
wrong with a file. Its flag against that cannot be set through libsndfile
(github.com/libsndfile/libsndfile/issues/958). The notes go to C's `stderr`.
Redirecting file descriptor 2 would also lose what other threads say in Python,
so that C variable alone is exchanged while a file is opened, or an MP3 file is
read. What other C code prints at that moment is lost. Without glibc, where the
variable may be constant, the notes are shown.

`jaxsep/audio/_quiet.py` is the same file: neither package imports the other.
"""

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Iterator

import soundfile


class _Exchange:
  """C's `stderr`, and a stream that discards, while any thread wants it."""

  def __init__(self):
    library = ctypes.CDLL(None)
    library.fopen.restype = ctypes.c_void_p
    self._stream = ctypes.c_void_p.in_dll(library, "stderr")
    # Not what is there now: that may be the stream of the other exchange.
    usual = ctypes.c_byte.in_dll(library, "_IO_2_1_stderr_")
    self._usual = ctypes.addressof(usual)
    self._discard = library.fopen(os.devnull.encode(), b"w") or self._usual
    self._num_users = 0
    self._lock = threading.Lock()

  def __enter__(self):
    with self._lock:
      self._num_users += 1
      self._stream.value = self._discard

  def __exit__(self, *_):
    with self._lock:
      self._num_users -= 1
      if not self._num_users:
        self._stream.value = self._usual


_HAS_GLIBC = sys.platform == "linux" and hasattr(
  ctypes.CDLL(None), "gnu_get_libc_version"
)
_EXCHANGE = _Exchange() if _HAS_GLIBC else contextlib.nullcontext()


@contextlib.contextmanager
def quiet(file: soundfile.SoundFile | None = None) -> Iterator[None]:
  """No notes while a file is opened, or `file` is read."""
  is_mpeg = file is None or "MPEG" in file.subtype
  with _EXCHANGE if is_mpeg else contextlib.nullcontext():
    yield
