"""What `jaxsep separate --stream` writes: growing files, or a pipe."""

import contextlib
import io
import os
import pathlib
import struct
import sys
from collections.abc import Sequence

import numpy as np
import soundfile

# The WAV format tag, bytes per sample, and soundfile's name.
_ENCODINGS = {
  "float": (3, 4, "FLOAT"),
  "pcm16": (1, 2, "PCM_16"),
  "pcm24": (1, 3, "PCM_24"),
}
_MOST_BYTES = 2**32 - 2**16


def encode(signal: np.ndarray, encoding: str) -> tuple[bytes, int]:
  """Samples `[T]` or `[T, C]` as bytes, and how many had to be clipped."""
  file, subtype = io.BytesIO(), _ENCODINGS[encoding][2]
  soundfile.write(file, signal, 1, subtype, endian="LITTLE", format="RAW")
  clipped = (np.abs(signal) > 1).sum() if encoding != "float" else 0
  return file.getvalue(), int(clipped)


class GrowingWav(contextlib.AbstractContextManager):
  """A mono WAV file that can be played while it grows, and after a crash.

  Its header is updated after each second of sound. Past 4 GB it becomes RF64.
  """

  def __init__(self, path: pathlib.Path, *, sample_rate_hz: int, encoding: str):
    self.num_samples = self.num_clipped = 0
    self._rate = sample_rate_hz
    self._encoding = encoding
    self._described = 0
    self._file = open(path, "wb")
    self._file.write(self._header())

  def write(self, signal: np.ndarray) -> None:
    """Appends samples `[T]`."""
    content, clipped = encode(signal, self._encoding)
    self._file.write(content)
    self.num_samples += len(signal)
    self.num_clipped += clipped
    if self.num_samples - self._described >= self._rate:
      self._describe()
    self._file.flush()

  def __exit__(self, *unused):
    with self._file:
      if self.num_samples * _ENCODINGS[self._encoding][1] % 2:
        self._file.write(b"\0")  # Chunks have even sizes.
      self._describe()

  def _describe(self):
    end = self._file.tell()
    self._file.seek(0)
    self._file.write(self._header())
    self._file.seek(end)
    self._described = self.num_samples

  def _header(self):
    tag, width, _ = _ENCODINGS[self._encoding]
    size, count = self.num_samples * width, self.num_samples
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


class Files(contextlib.ExitStack):
  """One growing file per source."""

  def __init__(self, paths: Sequence[pathlib.Path], **options):
    super().__init__()
    self.files = [self.enter_context(GrowingWav(p, **options)) for p in paths]

  @property
  def num_clipped(self) -> int:
    """Samples beyond full scale."""
    return sum(file.num_clipped for file in self.files)

  def write(self, block: np.ndarray) -> None:
    """Appends a block `[S, T]`."""
    for file, source in zip(self.files, block, strict=True):
      file.write(source)


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
