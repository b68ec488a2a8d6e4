"""Reads audio files."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator

import numpy as np
import soundfile

from jaxsep.audio import _checks
from jaxsep.audio._checks import AudioError
from jaxsep.audio._quiet import quiet
from jaxsep.audio._signal import resample_blocks
from jaxsep.typing import Float


@dataclasses.dataclass(frozen=True)
class AudioInfo:
  """What an audio file holds.

  Attributes:
    sample_rate_hz: Sample rate.
    num_channels: Number of channels.
    num_samples: Samples per channel.
  """

  sample_rate_hz: int
  num_channels: int
  num_samples: int

  @property
  def duration_s(self) -> float:
    """Length in seconds."""
    return self.num_samples / self.sample_rate_hz


def info(
  path: str | os.PathLike, *, allow_truncated: bool = False
) -> AudioInfo:
  """What an audio file holds, without reading all of it.

  Args:
    path: The file.
    allow_truncated: Whether to accept a file whose length is not the one in
      its header.

  Returns:
    Rate, channels and length.

  Raises:
    AudioError: If it cannot be read, holds no samples, or is cut off.
  """
  with _open(path, allow_truncated) as file:
    return AudioInfo(file.samplerate, file.channels, file.frames)


def read(
  path: str | os.PathLike,
  *,
  sample_rate_hz: int | None = None,
  allow_truncated: bool = False,
) -> tuple[Float[np.ndarray, "channel time"], int]:
  """Reads a file into memory.

  Args:
    path: The file.
    sample_rate_hz: Rate to resample to; None leaves the file's own.
    allow_truncated: As in `info`.

  Returns:
    The signal, shape `[C, T]`, and its sample rate.

  Raises:
    AudioError: If the file cannot be read, is cut off, or holds NaN or Inf.
    ValueError: If `sample_rate_hz` is not a positive whole number.

  Example:
    >>> import pathlib, tempfile
    >>> from jaxsep.audio import write
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "tone.wav"
    >>> tone = np.sin(np.arange(8000) * 0.1)[np.newaxis]
    >>> write(path, tone, sample_rate_hz=8000)
    >>> signal, rate = read(path)
    >>> signal.shape, rate
    ((1, 8000), 8000)
  """
  with _open(path, allow_truncated) as file:
    rate = file.samplerate if sample_rate_hz is None else sample_rate_hz
    blocks = resample_blocks(
      _blocks(file, path, 1 << 20, allow_truncated),
      orig_rate_hz=file.samplerate,
      target_rate_hz=rate,
    )
    empty = np.zeros((file.channels, 0), np.float32)
    return np.concatenate([empty, *blocks], axis=-1), rate


def read_blocks(
  path: str | os.PathLike,
  *,
  block_length: int = 65536,
  allow_truncated: bool = False,
) -> Iterator[Float[np.ndarray, "channel _time"]]:
  """Reads a file of any length in blocks, in constant memory.

  Args:
    path: The file.
    block_length: Samples per block; the last one may be shorter.
    allow_truncated: As in `info`.

  Yields:
    Consecutive segments, shape `[C, block_length]`.

  Raises:
    AudioError: As in `read`. Some damage is found only when it is reached.
  """
  with _open(path, allow_truncated) as file:
    yield from _blocks(file, path, block_length, allow_truncated)


@contextlib.contextmanager
def _open(path, allow_truncated):
  """The opened, checked file."""
  path = pathlib.Path(path)
  for is_wrong, why in (
    (path.is_dir(), "is a folder; name a file in it"),
    (not path.exists(), "no such file; check the spelling"),
    (not path.is_file(), "is not a regular file; save it to a file first"),
    (path.is_file() and not path.stat().st_size, "is empty; fetch it again"),
  ):
    if is_wrong:
      raise AudioError(f"{path}: {why}")
  try:
    # Unbuffered: libsndfile uses the position of the descriptor.
    handle = path.open("rb", buffering=0)
  except OSError as error:
    raise AudioError(f"{path}: cannot be opened: {error.strerror}") from error
  with handle:
    try:
      with quiet():
        # By number: given a name, soundfile goes by its extension.
        file = soundfile.SoundFile(handle.fileno(), closefd=False)
    except (soundfile.LibsndfileError, TypeError) as error:
      raise AudioError(
        f"{path}: is not an audio file of a known format, or its header is "
        "damaged; convert it to WAV or FLAC"
      ) from error
    with file:
      if file.frames > 2**62:
        raise AudioError(
          f"{path}: does not say how long it is, as written into a pipe; "
          "convert it to WAV"
        )
      if file.samplerate < _checks.MIN_RATE_HZ:
        raise AudioError(
          f"{path}: its header says {file.samplerate} Hz, which is no rate of"
          " sound; fetch or export it again"
        )
      if not allow_truncated:
        _checks.check_length(file, handle, path)
      if file.frames == 0:
        raise AudioError(f"{path}: holds no samples; record or export it again")
      yield file


def _blocks(file, path, block_length, allow_truncated):
  """Yields checked blocks `[C, t]` of an open file."""
  position, end = 0, file.frames
  if allow_truncated:
    # A read that meets the damage gives nothing, so reads are short.
    block_length = min(block_length, 4096)
  try:
    while position < end:
      with quiet(file):
        block = file.read(block_length, dtype="float32", always_2d=True).T
      if not block.shape[1]:
        break
      _checks.check_finite(block, path, position, file.samplerate)
      position += block.shape[1]
      yield np.ascontiguousarray(block)
  except soundfile.LibsndfileError as error:
    if not allow_truncated:
      raise AudioError(
        f"{path}: is cut off or damaged after "
        f"{position / file.samplerate:.2f} s; {_checks.FIX_LENGTH}"
      ) from error
    if not position:
      raise AudioError(
        f"{path}: is damaged from its start on; fetch or export it again"
      ) from error
    return
  if position < end and not allow_truncated:
    raise AudioError(
      f"{path}: ends after {position} of {end} samples; {_checks.FIX_LENGTH}"
    )
