"""What `jaxsep separate --stream` reads: a pipe as it fills, or a file."""

import contextlib
import math
import os
import signal
import struct
import threading
from collections.abc import Iterator

import numpy as np

from jaxsep import audio
from jaxsep.cli._console import UsageError

# Samples as they lie in a WAV file or a raw stream, by format and bits.
_TYPES = {(1, 16): "<i2", (1, 32): "<i4", (3, 32): "<f4", (3, 64): "<f8"}
_RAW = {"int16": (1, 16), "float32": (3, 32)}
_EXTENSIBLE = 0xFFFE
_DAMAGED = (
  "-: the WAV header is damaged; save the sound to a file and name that, or"
  " send raw samples with --raw"
)


class _Stopped(Exception):
  pass


class Stopper(contextlib.AbstractContextManager):
  """Turns Ctrl-C and SIGTERM into an end of the input.

  Attributes:
    signal: Number of the signal that came, or None.
  """

  def __init__(self):
    self.signal: int | None = None
    self._is_reading = False
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
    if self._is_reading:
      raise _Stopped

  def read(self, descriptor: int, count: int) -> bytes:
    """What is there, at most so many bytes; none at the end or a signal."""
    if self.signal is not None:
      return b""
    try:
      self._is_reading = True
      return os.read(descriptor, count)
    except _Stopped:
      return b""
    finally:
      self._is_reading = False


class Pipe:
  """Sound from a pipe: WAV, or raw samples.

  Attributes:
    sample_rate_hz: Sample rate.
    num_channels: Number of channels.
    problem: Why the blocks ended early, or None.
    remark: What was left out at the end, or None.
  """

  def __init__(self, descriptor: int, stopper: Stopper, raw=None):
    """Reads the header; with `raw`, (type, rate, channels), there is none."""
    self._descriptor = descriptor
    self._stopper = stopper
    self._remaining: float = np.inf
    self.problem: str | None = None
    self.remark: str | None = None
    if raw is None:
      self._kind = self._read_header()
    else:
      kind, self.sample_rate_hz, self.num_channels = raw
      self._kind = _TYPES[_RAW[kind]]

  def blocks(self) -> Iterator[np.ndarray]:
    """Yields what is there `[C, any]`, as it comes."""
    kind = np.dtype(self._kind)
    width = kind.itemsize * self.num_channels
    rest, position = b"", 0
    while self._remaining > 0:
      read = self._stopper.read(
        self._descriptor, int(min(1 << 16, self._remaining))
      )
      if not read:
        if self._stopper.signal is None:
          self._explain_end(len(rest), width)
        return
      self._remaining -= len(read)
      content = rest + read
      whole = len(content) // width * width
      content, rest = content[:whole], content[whole:]
      values = np.frombuffer(content, kind).reshape(-1, self.num_channels)
      block = values.T.astype(np.float32)
      if kind.kind == "i":
        block /= 2.0 ** (8 * kind.itemsize - 1)
      is_finite = np.isfinite(block).all(axis=0)
      if not is_finite.all():
        first = int(np.argmin(is_finite))
        self.problem = (
          f"-: NaN or Inf at sample {position + first}; what came before is"
          " separated"
        )
        yield block[:, :first]
        return
      position += block.shape[1]
      if block.shape[1]:
        yield block

  def _explain_end(self, num_rest, width):
    if math.isfinite(self._remaining):
      self.problem = (
        "-: ends before the size in its header; what came is separated"
      )
    elif num_rest:
      self.remark = (
        f"-: ends within a sample of {width} bytes; the last {num_rest}"
        " are left out: are the type and --num_channels right?"
      )

  def _take(self, count):
    """Exactly so many bytes of the header."""
    content = b""
    while len(content) < count:
      read = self._stopper.read(self._descriptor, count - len(content))
      if not read:
        if self._stopper.signal is not None:
          raise SystemExit(128 + self._stopper.signal)
        raise UsageError("-: ends before any sound; is it connected?")
      content += read
    return content

  def _read_header(self):
    """Reads up to the first sample; returns the type of the samples."""
    start = self._take(12)
    if start[:4] not in (b"RIFF", b"RF64") or start[8:] != b"WAVE":
      raise UsageError(
        "-: is not a WAV stream; for raw samples add --raw=int16 or"
        " --raw=float32 and --sample_rate_hz"
      )
    kind = None
    self.num_channels = self.sample_rate_hz = 0
    while True:
      name, size = struct.unpack("<4sI", self._take(8))
      if name == b"data":
        break
      if size > 1 << 24:
        raise UsageError(_DAMAGED)
      content = self._take(size + size % 2)
      if name == b"fmt " and size >= 16:
        tag, self.num_channels, self.sample_rate_hz, _, _, bits = struct.unpack(
          "<HHIIHH", content[:16]
        )
        if tag == _EXTENSIBLE and size >= 26:
          tag = struct.unpack("<H", content[24:26])[0]
        kind = (tag, bits)
    # No chunk of that kind, or one cut short.
    if kind is None or not 0 <= self.sample_rate_hz <= 1 << 20:
      raise UsageError(_DAMAGED)
    if kind not in _TYPES or not self.num_channels or not self.sample_rate_hz:
      raise UsageError(
        "-: can read WAV of 16 or 32 bit integers and of floats from a pipe;"
        " convert it, or name a file"
      )
    # Some programs that do not know the size put 0.
    if size and not audio.states_no_size(size):
      self._remaining = size
    return _TYPES[kind]
