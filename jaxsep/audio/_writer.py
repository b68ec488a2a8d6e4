"""Writes audio files."""

import contextlib
import glob
import os
import pathlib
import platform
import warnings

import numpy as np
import soundfile

from jaxsep.audio._checks import AudioError
from jaxsep.typing import Float

# What soundfile takes for each encoding: the subtype, and bytes per sample.
_ENCODINGS = {
  "float": ("FLOAT", 4),
  "pcm16": ("PCM_16", 2),
  "pcm24": ("PCM_24", 3),
}


def write(
  path: str | os.PathLike,
  signal: Float[np.ndarray, "channel time"] | Float[np.ndarray, "time"],
  *,
  sample_rate_hz: int,
  encoding: str | None = None,
) -> None:
  """Writes a signal to a WAV or FLAC file; replaces a file of that name.

  Args:
    path: The file; `.wav` or `.flac` decides the format.
    signal: Signal, shape `[C, T]` or `[T]`.
    sample_rate_hz: Its rate.
    encoding: As in `Writer`.

  Raises:
    AudioError: As in `Writer`.
  """
  signal = np.atleast_2d(signal)
  with Writer(
    path,
    sample_rate_hz=sample_rate_hz,
    num_channels=len(signal),
    encoding=encoding,
    num_samples=signal.shape[1],
  ) as writer:
    writer.write(signal)


class Writer(contextlib.AbstractContextManager):
  """Writes an audio file block by block; it appears when it is complete.

  Samples go to a hidden file beside the target, which takes the target's name
  when the `with` block ends and is deleted when it ends in an exception. What a
  killed process left of it is deleted when the target is next written.

  WAV holds 32-bit float by default, which cannot clip. Integer encodings clip
  samples beyond full scale, count them in `num_clipped`, and report them in one
  warning at the end.

  Attributes:
    path: The target.
    num_clipped: Samples so far that an integer encoding could not hold.
  """

  def __init__(
    self,
    path: str | os.PathLike,
    *,
    sample_rate_hz: int,
    num_channels: int = 1,
    encoding: str | None = None,
    num_samples: int | None = None,
  ):
    """Opens the hidden file.

    Args:
      path: The target; `.wav` or `.flac` decides the format.
      sample_rate_hz: Sample rate.
      num_channels: Number of channels.
      encoding: `"float"`, `"pcm16"` or `"pcm24"`; None for float in WAV and
        24 bits in FLAC.
      num_samples: Samples to come, if known: a WAV file past 4 GB is written
        as RF64, which must be decided at the start.

    Raises:
      AudioError: If an argument is out of range, or the file cannot be made.
    """
    self.path = pathlib.Path(path)
    self.num_clipped = 0
    container = self.path.suffix.lower().removeprefix(".").upper()
    if container not in ("WAV", "FLAC"):
      raise AudioError(f"{path}: can write .wav and .flac, not {container!r}")
    encoding = encoding or ("float" if container == "WAV" else "pcm24")
    if encoding not in _ENCODINGS:
      raise AudioError(
        f"{path}: encoding must be one of {', '.join(_ENCODINGS)}, "
        f"got {encoding!r}"
      )
    if container == "FLAC" and encoding == "float":
      raise AudioError(f"{path}: FLAC holds no float: use pcm24, or .wav")
    self._is_integer = encoding != "float"
    self._num_samples = 0
    subtype, width = _ENCODINGS[encoding]
    if container == "WAV":
      size = (num_samples or 0) * num_channels * width
      container = "RF64" if size > 2**32 - 2**16 else "WAV"
    # libsndfile does not say what it cannot hold: the highest rate, the
    # number of channels, and the step of the rates.
    top, most, step = 2**31 - 1, 1024, 1
    if container == "FLAC":
      top, most, step = 655_350, 8, 10 if sample_rate_hz >= 2**16 else 1
    if not 1 <= sample_rate_hz <= top or sample_rate_hz % step:
      raise AudioError(
        f"{path}: {container} holds rates of whole {step} Hz up to {top} Hz,"
        f" got {sample_rate_hz}; resample it"
      )
    if not 1 <= num_channels <= most:
      raise AudioError(
        f"{path}: {container} holds 1 to {most} channels, got {num_channels}"
      )
    if self.path.is_dir():
      raise AudioError(f"{path}: is a folder; name a file in it")
    # Other hosts may share the folder: of their processes nothing is known.
    begin = f".{self.path.name}.{platform.node()}."
    for old in self.path.parent.glob(f"{glob.escape(begin)}*.part"):
      if _is_over(old.name.removeprefix(begin).removesuffix(".part")):
        with contextlib.suppress(OSError):
          old.unlink()
    self._part = self.path.with_name(f"{begin}{os.getpid()}.part")
    try:
      self._part.touch()  # Says why it cannot be written; libsndfile does not.
      self._file = soundfile.SoundFile(
        self._part,
        "w",
        samplerate=sample_rate_hz,
        channels=num_channels,
        subtype=subtype,
        format=container,
      )
    except (OSError, soundfile.LibsndfileError) as error:
      with contextlib.suppress(OSError):
        self._part.unlink(missing_ok=True)
      why = getattr(error, "strerror", None) or error
      raise AudioError(f"{path}: cannot be written: {why}") from error

  def write(self, block: Float[np.ndarray, "channel time"]) -> None:
    """Appends a segment of signal.

    Args:
      block: The segment, shape `[C, any]`.

    Raises:
      AudioError: If it holds NaN or Inf, or the disk takes no more.
    """
    if not np.isfinite(block).all():
      raise AudioError(f"{self.path}: refusing to write NaN or Inf samples")
    if self._is_integer:
      self.num_clipped += int((np.abs(block) > 1).sum())
    self._num_samples += block.shape[1]
    try:
      self._file.write(block.T)
    except (OSError, soundfile.LibsndfileError) as error:
      raise AudioError(
        f"{self.path}: writing stopped, is the disk full? ({error})"
      ) from error

  def __exit__(self, kind, error, traceback):
    try:
      self._file.close()
      if kind is None:
        self._check_complete()
        os.replace(self._part, self.path)
    except (OSError, soundfile.LibsndfileError) as failure:
      raise AudioError(
        f"{self.path}: cannot be finished, is the disk full? ({failure})"
      ) from error
    finally:
      self._part.unlink(missing_ok=True)
    if kind is None and self.num_clipped:
      warnings.warn(
        f"{self.path}: {self.num_clipped} samples beyond full scale were "
        "clipped; a WAV file with float samples would keep them",
        stacklevel=2,
      )

  def _check_complete(self):
    """Reads the end: libsndfile ignores a full disk when it closes FLAC."""
    with soundfile.SoundFile(self._part) as file:
      if file.frames == self._num_samples:
        if not file.frames:
          return
        file.seek(file.frames - 1)
        if len(file.read(1)):
          return
    raise OSError("its end is missing")


def _is_over(pid: str) -> bool:
  """Whether there is no process of this number any more."""
  # Elsewhere, `os.kill` would end the process.
  if os.name != "posix" or not pid.isdecimal():
    return False
  try:
    os.kill(int(pid), 0)
  except ProcessLookupError:
    return True
  except OSError:
    pass
  return False
