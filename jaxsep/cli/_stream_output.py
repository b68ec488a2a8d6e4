"""What `jaxsep separate --stream` writes: growing files, or a pipe."""

import contextlib
import os
import pathlib
import struct
import sys
from collections.abc import Sequence

import numpy as np

from jaxsep import audio

# The WAV format tag and bytes per sample.
_ENCODINGS = {"float": (3, 4), "pcm16": (1, 2), "pcm24": (1, 3)}
_MOST_BYTES = 2**32 - 2**16


def encode(signal: np.ndarray, encoding: str) -> tuple[bytes, int]:
  """Samples `[T]` or `[T, C]` as bytes, and how many had to be clipped."""
  if encoding == "float":
    return signal.astype("<f4").tobytes(), 0
  width = _ENCODINGS[encoding][1]
  full = 2.0 ** (8 * width - 1)
  values = np.clip(np.rint(signal * full), -full, full - 1).astype("<i4")
  lowest = values.reshape(-1, 1).view(np.uint8)[:, :width]
  return lowest.tobytes(), int((np.abs(signal) > 1).sum())


class Files(contextlib.AbstractContextManager):
  """A mono WAV file per source that can be played while it grows.

  Headers are updated with each block. Past 4 GB they become RF64.
  """

  def __init__(
    self, paths: Sequence[pathlib.Path], *, sample_rate_hz: int, encoding: str
  ):
    self.num_clipped = self._num_samples = 0
    self._rate = sample_rate_hz
    self._encoding = encoding
    self._paths = paths
    self._files = [open(path, "wb") for path in paths]
    self._describe()

  def write(self, block: np.ndarray) -> None:
    """Appends a block `[S, T]`; raises AudioError if the disk takes no more."""
    before = self._num_samples
    self._num_samples += block.shape[1]
    try:
      for file, source in zip(self._files, block, strict=True):
        content, clipped = encode(source, self._encoding)
        file.seek(0, os.SEEK_END)
        file.write(content)
        self.num_clipped += clipped
      self._describe()
    except OSError as error:
      self._cut(before)
      raise audio.AudioError(
        f"{self._paths[0].parent}: writing stopped, is the disk full?"
        f" ({error.strerror}); what came before is separated"
      ) from error

  def _cut(self, num_samples):
    """Takes back what was written of a block."""
    self._num_samples = num_samples
    size = len(self._header()) + num_samples * _ENCODINGS[self._encoding][1]
    for file in self._files:
      with contextlib.suppress(OSError):  # Writes what is held, and closes.
        file.close()
    for path in self._paths:
      os.truncate(path, size)
    self._files = [open(path, "r+b") for path in self._paths]
    self._describe()

  def __exit__(self, *unused):
    for file in self._files:
      with file:
        if file.seek(0, os.SEEK_END) % 2:
          file.write(b"\0")  # Chunks have even sizes.

  def _describe(self):
    header = self._header()
    for file in self._files:
      file.seek(0)
      file.write(header)
      file.flush()

  def _header(self):
    tag, width = _ENCODINGS[self._encoding]
    size, count = self._num_samples * width, self._num_samples
    form = struct.pack(
      "<4sIHHIIHH", b"fmt ", 16, tag, 1, self._rate, self._rate * width, width,
      8 * width,
    )  # fmt: skip
    is_big = size > _MOST_BYTES
    fact = struct.pack("<4sII", b"fact", 4, 0xFFFFFFFF if is_big else count)
    total = 4 + 36 + len(form) + len(fact) + 8 + size + size % 2
    if is_big:
      head = struct.pack("<4sI4s", b"RF64", 0xFFFFFFFF, b"WAVE")
      sizes = struct.pack("<4sIQQQI", b"ds64", 28, total, size, count, 0)
      size = 0xFFFFFFFF
    else:
      head = struct.pack("<4sI4s", b"RIFF", total, b"WAVE")
      sizes = struct.pack("<4sI28x", b"JUNK", 28)  # Room for the above.
    return head + sizes + form + fact + struct.pack("<4sI", b"data", size)


class Stdout(contextlib.AbstractContextManager):
  """All sources on stdout, interleaved, without a header."""

  def __init__(self, encoding: str):
    self.num_clipped = 0
    self._encoding = encoding

  def write(self, block: np.ndarray) -> None:
    """Appends a block `[S, T]`; raises BrokenPipeError if no one reads."""
    content, clipped = encode(block.T, self._encoding)
    self.num_clipped += clipped
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()

  def __exit__(self, kind, *unused):
    if kind is not None and issubclass(kind, BrokenPipeError):
      # Python flushes stdout at exit, which would fail again.
      os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
