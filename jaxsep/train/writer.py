"""What a run leaves to read: a log in JSON lines, TensorBoard, the terminal."""

import contextlib
import io
import json
import math
import os
import pathlib
import struct
import sys
import wave
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tqdm


class Writer:
  """Writes scalars and signals of a run; the silent one writes nothing.

  The log has one JSON object a line, with `step`, `split` and the values;
  values that are not finite are null. Lines past the step at which a run goes
  on are cut off, so a step is never there twice.

  Attributes:
    path: The log.
  """

  def __init__(
    self,
    folder: str | os.PathLike,
    *,
    start_step: int = 0,
    evaluated: bool = True,
    tensorboard: bool = True,
    active: bool = True,
  ):
    self.path = pathlib.Path(folder) / "log.jsonl"
    self._log = self._events = None
    self._shown: set[str] = set()
    if not active:
      return
    cut_log(self.path, start_step, evaluated=evaluated)
    self._log = open(self.path, "a")
    if tensorboard:
      self._events = _open_events(self.path.parent, start_step)

  def scalars(
    self, step: int, split: str, values: Mapping[str, float | int | str]
  ) -> None:
    """Writes the values of a step."""
    if self._log is not None:
      line = {"step": step, "split": split}
      line.update((name, _plain(value)) for name, value in values.items())
      self._log.write(json.dumps(line) + "\n")
      self._log.flush()
    if self._events is not None:
      for name, value in values.items():
        if isinstance(value, int | float) and math.isfinite(value):
          self._events.add_scalar(f"{split}/{name}", value, step)

  def signals(
    self, step: int, signals: Mapping[str, Any], *, sample_rate_hz: int
  ) -> None:
    """Writes signals as audio and as spectrograms.

    Only what starts with "estimate" changes in the course of a run; the rest
    is written once.

    Args:
      step: Step they belong to.
      signals: Arrays `[T]` or `[S, T]` by name.
      sample_rate_hz: Their sample rate.
    """
    if self._events is None:
      return
    for name, array in signals.items():
      if name in self._shown and not name.startswith("estimate"):
        continue
      self._shown.add(name)
      array = np.asarray(array, np.float32)
      rows = array[None] if array.ndim == 1 else array
      for i, row in enumerate(rows):
        tag = name if array.ndim == 1 else f"{name}_{i + 1}"
        _add_signal(self._events, step, tag, row, sample_rate_hz)
    self._events.flush()

  def close(self) -> None:
    """Flushes and closes all files."""
    if self._log is not None:
      # Every line was flushed: what is left is one that failed, and said so.
      with contextlib.suppress(OSError):
        self._log.close()
    if self._events is not None:
      self._events.close()
    self._log = self._events = None


def say(line: str) -> None:
  """Prints a line to the terminal, above a progress bar if there is one."""
  tqdm.tqdm.write(line, file=sys.stderr)
  sys.stderr.flush()


def cut_log(path: pathlib.Path, step: int, *, evaluated: bool = True) -> None:
  """Drops what a run that goes on will write again.

  Args:
    path: The log; it is replaced in one piece.
    step: Where the run goes on; later lines are dropped, and so is one that
      was cut off while it was written.
    evaluated: Whether the evaluation of that step is done.
  """
  if not path.exists():
    return
  kept = []
  for line in path.read_text(errors="replace").splitlines():
    try:
      values = json.loads(line)
      again = values["step"] == step and values["split"] == "eval"
      if values["step"] <= step and not (again and not evaluated):
        kept.append(line + "\n")
    except (ValueError, KeyError, TypeError):
      continue
  hidden = path.with_name(f".{path.name}")
  hidden.write_text("".join(kept))
  os.replace(hidden, path)


def png(image: np.ndarray) -> bytes:
  """Encodes an image `[height, width, 3]` of uint8 as PNG."""
  height, width, _ = image.shape
  # Every row starts with the number of its filter; 0 is none.
  rows = np.zeros((height, 1 + 3 * width), np.uint8)
  rows[:, 1:] = image.reshape(height, -1)

  def chunk(kind, data):
    checksum = zlib.crc32(kind + data)
    return (
      struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
    )

  header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
  return (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", header)
    + chunk(b"IDAT", zlib.compress(rows.tobytes(), 6))
    + chunk(b"IEND", b"")
  )


def wav(signal: np.ndarray, *, sample_rate_hz: int) -> bytes:
  """Encodes a signal `[T]` as 16-bit WAV; what is too loud is clipped."""
  pcm = np.round(np.clip(signal, -1.0, 1.0) * 32767).astype("<i2")
  buffer = io.BytesIO()
  with wave.open(buffer, "wb") as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(sample_rate_hz)
    file.writeframes(pcm.tobytes())
  return buffer.getvalue()


def spectrogram_image(
  signal: np.ndarray, *, sample_rate_hz: int, max_width: int = 600
) -> np.ndarray:
  """Draws 70 dB of a signal's spectrogram, low frequencies at the bottom.

  Args:
    signal: Signal, shape `[T]`.
    sample_rate_hz: Sets the window to 32 ms.
    max_width: Longer signals get a longer hop.

  Returns:
    The image, uint8 of shape `[height, width, 3]`.
  """
  n_fft = max(sample_rate_hz * 32 // 1000, 16)
  hop = max(n_fft // 4, -(-len(signal) // max_width))
  padded = np.pad(np.asarray(signal, np.float32), (n_fft // 2, n_fft))
  starts = np.arange(0, max(len(signal), 1), hop)
  frames = padded[starts[:, None] + np.arange(n_fft)] * np.hanning(n_fft)
  power = np.square(np.abs(np.fft.rfft(frames)))
  level = 10 * np.log10(power / max(float(power.max()), 1e-12) + 1e-12)
  shade = np.clip(1 + level / 70, 0, 1).T[::-1]
  # Dark blue over red to pale yellow, evenly growing in lightness.
  stops = np.array(
    [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]]
  )
  places = np.linspace(0, 1, len(stops))
  image = np.stack([np.interp(shade, places, stop) for stop in stops.T], -1)
  return image.astype(np.uint8)


def _plain(value):
  """A JSON value; what is not finite has none in JSON."""
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def _open_events(folder, start_step):
  """The TensorBoard writer; events past the start are not shown again."""
  try:
    import tensorboardX
  except ImportError as error:
    raise ValueError(
      "TensorBoard events need tensorboardX: pip install 'jaxsep[train]', or "
      "set tensorboard to False"
    ) from error
  purge = start_step + 1 if start_step else None
  return tensorboardX.SummaryWriter(
    str(folder / "tensorboard"), purge_step=purge
  )


def _add_signal(events, step, tag, signal, sample_rate_hz):
  """Adds a signal's audio and spectrogram to the events."""
  from tensorboardX.proto.summary_pb2 import Summary

  # Estimates may be louder than full scale; the ear needs no exact level.
  signal = signal / max(1.0, float(np.max(np.abs(signal), initial=0.0)))
  image = spectrogram_image(signal, sample_rate_hz=sample_rate_hz)
  audio = Summary.Audio(
    sample_rate=sample_rate_hz,
    num_channels=1,
    length_frames=len(signal),
    encoded_audio_string=wav(signal, sample_rate_hz=sample_rate_hz),
    content_type="audio/wav",
  )
  picture = Summary.Image(
    height=image.shape[0],
    width=image.shape[1],
    colorspace=3,
    encoded_image_string=png(image),
  )
  summary = Summary(
    value=[
      Summary.Value(tag=f"audio/{tag}", audio=audio),
      Summary.Value(tag=f"spectrogram/{tag}", image=picture),
    ]
  )
  events.file_writer.add_summary(summary, step)
