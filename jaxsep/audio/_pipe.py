"""Reads sound from a pipe while it arrives.

libsndfile can read a WAV file from a pipe itself, but a read that waits for
samples cannot be interrupted by Ctrl-C, the last samples of RF64 are lost, and
a size of 0, for "not known", means no samples. So the bytes are read here, and
libsndfile only explains the header and the samples.
"""

import io
import struct
from collections.abc import Callable, Iterator

import numpy as np
import soundfile

from jaxsep.audio._checks import (
  MIN_RATE_HZ,
  MOST,
  AudioError,
  states_no_size,
)
from jaxsep.typing import Float

# Bytes per sample by the names of soundfile.
_WIDTHS = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}
_DAMAGED = (
  "-: the WAV header is damaged; save the sound to a file and name that"
)


class Pipe:
  """Sound from a pipe, in WAV.

  Attributes:
    sample_rate_hz: Sample rate.
    num_channels: Number of channels.
    problem: Why `blocks` ended early, or None.
    remark: What was left out at the end, or None.
  """

  def __init__(self, read: Callable[[int], bytes]):
    """Reads the header.

    Args:
      read: `read(count)` waits for bytes and returns what is there, at most
        `count`; nothing at the end.

    Raises:
      AudioError: If it is not a WAV stream, or one that cannot be read.
    """
    self._read = read
    self._remaining = np.inf
    self.problem: str | None = None
    self.remark: str | None = None
    self._read_header()

  def blocks(self) -> Iterator[Float[np.ndarray, "channel _time"]]:
    """Yields what is there, shape `[C, any]`, as soon as it arrives."""
    width = _WIDTHS[self._subtype] * self.num_channels
    rest, position = b"", 0
    while self._remaining > 0:
      arrived = self._read(int(min(1 << 16, self._remaining)))
      if not arrived:
        self._explain_end(len(rest), width)
        return
      self._remaining -= len(arrived)
      content = rest + arrived
      whole = len(content) // width * width
      content, rest = content[:whole], content[whole:]
      if not content:
        continue
      block = self._decode(content)
      is_finite = (np.abs(block) <= MOST).all(axis=0)
      if not is_finite.all():
        first = int(np.argmin(is_finite))
        self.problem = (
          f"-: NaN or Inf at sample {position + first}; what came before is"
          " separated"
        )
        yield block[:, :first]
        return
      position += block.shape[1]
      yield block

  def _decode(self, content):
    signal, _ = soundfile.read(
      io.BytesIO(content),
      dtype="float32",
      always_2d=True,
      samplerate=self.sample_rate_hz,
      channels=self.num_channels,
      format="RAW",
      subtype=self._subtype,
      endian="LITTLE",
    )
    return signal.T

  def _explain_end(self, num_rest, width):
    if self._remaining < np.inf:
      self.problem = (
        "-: ends before the size in its header; what came is separated"
      )
    elif num_rest:
      self.remark = (
        f"-: ends within a sample of {width} bytes; the last {num_rest}"
        " are left out"
      )

  def _take(self, count):
    """Exactly so many bytes of the header."""
    content = b""
    while len(content) < count:
      arrived = self._read(count - len(content))
      if not arrived:
        raise AudioError("-: ends before any sound; is it connected?")
      content += arrived
    return content

  def _read_header(self):
    """Reads up to the first sample."""
    header = self._take(12)
    if header[:4] not in (b"RIFF", b"RF64") or header[8:] != b"WAVE":
      raise AudioError(
        "-: is not a WAV stream; convert it, for example with ffmpeg -f wav -"
      )
    while True:
      header += self._take(8)
      name, size = struct.unpack("<4sI", header[-8:])
      if name == b"data":
        break
      if size > 1 << 24:
        raise AudioError(_DAMAGED)
      header += self._take(size + size % 2)
    try:
      file = soundfile.SoundFile(io.BytesIO(header))
    except soundfile.LibsndfileError as error:
      raise AudioError(_DAMAGED) from error
    with file:
      self.sample_rate_hz = file.samplerate
      self.num_channels = file.channels
      self._subtype = file.subtype
    if self.sample_rate_hz < MIN_RATE_HZ:
      raise AudioError(_DAMAGED)
    if self._subtype not in _WIDTHS:
      raise AudioError(
        "-: can read WAV of 16, 24 or 32 bit integers and of floats from a"
        " pipe; convert it, or name a file"
      )
    # Some programs that do not know the size put 0.
    if size and not states_no_size(size):
      self._remaining = size
