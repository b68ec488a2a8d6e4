"""Where someone speaks in a recording."""

import collections
import importlib
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from jaxsep import audio
from jaxsep.typing import Float

# What the detector takes, and what other rates are resampled to.
_RATES_HZ, _USUAL_HZ = (8000, 16000, 32000, 48000), 16000
_FRAME_MS = 30
# Speech begins and ends with so many frames of which more than 90 % agree.
_WINDOW, _SHARE = 10, 0.9
_LEAST_GAP_S, _MARGIN_S = 1.0, 0.25


def voice_segments(
  blocks: Iterable[Float[np.ndarray, "_time"]], *, sample_rate_hz: int
) -> Iterator[tuple[int, int]]:
  """Finds the segments in which someone speaks, by WebRTC's detector.

  The detector, in its least aggressive mode, decides on frames of 30 ms. A
  segment begins with 300 ms of speech and ends with 300 ms without. Segments
  less than a second apart are one; each is extended by 0.25 s at both ends.
  Needs the extra `asr`.

  Args:
    blocks: Consecutive parts of one channel, shape `[any]`, full scale at 1;
      `[signal]` for one in memory.
    sample_rate_hz: Their rate. The detector takes 8, 16, 32 and 48 kHz; what it
      hears of other rates is resampled.

  Yields:
    First sample of each segment, and the one after its last, in order. A
    segment is given when the next one is found, or the recording has ended.

  Raises:
    ImportError: If webrtcvad is not installed.

  References:
    The scripts for LibriCSS (Chen et al., "Continuous speech separation:
    dataset and analysis", ICASSP 2020), which have the same numbers.

  Example:
    >>> signal = np.zeros(32000, np.float32)
    >>> list(voice_segments([signal], sample_rate_hz=16000))
    []
  """
  rate = sample_rate_hz if sample_rate_hz in _RATES_HZ else _USUAL_HZ
  num_samples = 0

  def heard():
    nonlocal num_samples
    for block in blocks:
      num_samples += len(block)
      yield block[np.newaxis]

  resampled = audio.resample_blocks(
    heard(), orig_rate_hz=sample_rate_hz, target_rate_hz=rate
  )

  def place(frame, margin_s):
    """The sample at which a frame begins, with the margin."""
    time_s = frame * _FRAME_MS / 1000 + margin_s
    return round(min(max(0, time_s * sample_rate_hz), num_samples))

  begin = end = None
  for first, last in _spans(_flags(resampled, rate)):
    if end is not None and (first - end) * _FRAME_MS >= 1000 * _LEAST_GAP_S:
      yield place(begin, -_MARGIN_S), place(end, _MARGIN_S)
      begin = None
    begin, end = first if begin is None else begin, last
  if end is not None:
    yield place(begin, -_MARGIN_S), place(end, _MARGIN_S)


def _flags(blocks, rate_hz):
  """Whether each frame is speech."""
  detector = _package().Vad(0)
  size = rate_hz * _FRAME_MS // 1000
  held = np.zeros(0, np.int16)
  for block in blocks:
    samples = np.clip(np.rint(32768 * block[0]), -32768, 32767)
    held = np.concatenate([held, samples.astype(np.int16)])
    # The official script leaves out a frame with which the recording ends.
    num_frames = max(0, len(held) - 1) // size
    for frame in held[: num_frames * size].reshape(num_frames, size):
      yield detector.is_speech(frame.tobytes(), rate_hz)
    held = held[num_frames * size :]


def _spans(flags):
  """Frames from and to which there is speech; infinity for the end."""
  window: collections.deque[bool] = collections.deque(maxlen=_WINDOW)
  first = None
  for index, flag in enumerate(flags):
    window.append(flag != (first is not None))
    if sum(window) > _SHARE * _WINDOW:
      if first is None:
        first = index + 1 - _WINDOW
      else:
        yield first, index + 1
        first = None
      window.clear()
  if first is not None:
    yield first, math.inf


def _package() -> Any:
  """The detector, or one line that says how to get it."""
  try:
    return importlib.import_module("webrtcvad")
  except ImportError as error:
    raise ImportError(
      "voice activity needs the package webrtcvad: pip install 'jaxsep[asr]'"
    ) from error
