"""Evens out the level of a recording, and gives estimates their level back."""

from collections.abc import Iterable, Iterator

import numpy as np

from jaxsep.typing import Float

# RMS to which a recording is brought for the model.
MODEL_LEVEL = 0.1
# Frames per second, of which the window of the level holds 2 s.
_FRAMES_PER_S = 10
_WINDOW = np.hanning(2 * _FRAMES_PER_S + 2)[1:-1]
# Frames that are looked at before and after a frame.
_CONTEXT = len(_WINDOW) // 2
_LOOKAHEAD = _STEP = 10 * _FRAMES_PER_S
# Background stays soft: what is 25 dB or more below the speech of the same
# second is not brought to its level. This limit falls by 2.5 dB per second away
# from speech, down to 50 dB below the loudest sound of the last minutes.
_SOFT, _SOFT_DECAY = 10**-2.5, 10 ** (-0.25 / _FRAMES_PER_S)
_SILENT, _SILENT_DECAY = 10**-5.0, 10 ** (-0.01 / _FRAMES_PER_S)


class EvenLevel:
  """One slowly varying gain for a recording, and its inverse for the sources.

  Models separate best at the level and the level differences that they were
  trained with. `even` brings the RMS over about 2 s to one value. The gain is
  common to all that sounds at a time, so the sources are still those of the
  recording once `restore` has undone it. Silence, background noise in a pause
  and the echo after a word stay soft. Memory does not grow with the recording.

  Example:
    >>> speech = np.random.default_rng(0).normal(0, 1, 80000)
    >>> speech[40000:] *= 0.1
    >>> level = EvenLevel(8000)
    >>> evened = np.concatenate(list(level.even([speech])))
    >>> [round(float(part.std()), 1) for part in np.split(evened, 5)]
    [0.1, 0.1, 0.1, 0.1, 0.1]
    >>> (restored,) = level.restore([evened[None]])
    >>> bool(np.allclose(restored[0], speech))
    True
  """

  def __init__(self, sample_rate_hz: int):
    self._frame = -(-sample_rate_hz // _FRAMES_PER_S)
    self._soft = self._silent = 0.0  # Running floors, as powers.
    self._gains = np.zeros(0)  # At the bounds of frames, not restored yet.
    self._first = 0  # The frame that begins at the first of them.

  def even(
    self, blocks: Iterable[Float[np.ndarray, "_time"]]
  ) -> Iterator[Float[np.ndarray, "_time"]]:
    """The recording in consecutive blocks, at an even level, float32."""
    frame, position = self._frame, 0
    held, fresh, count = np.zeros(0, np.float32), [], 0
    power = np.full(_CONTEXT, np.nan)  # From `_CONTEXT` before `held` on.
    needed = (_STEP + _LOOKAHEAD + _CONTEXT) * frame
    for block in blocks:
      fresh.append(block)
      count += len(block)
      if count < needed:
        continue
      held, fresh = np.concatenate([held, *fresh]), []
      while len(held) >= needed:
        power = self._measure(power, held[:needed])
        self._settle(power, _STEP)
        evened, held = held[: _STEP * frame], held[_STEP * frame :]
        yield self._evened(position, evened)
        position += len(evened)
        power = power[_STEP:]
      count = len(held)
    held = np.concatenate([held, *fresh])
    if len(held):
      power = self._measure(power, held)
      power = np.concatenate([power, np.full(_CONTEXT, np.nan)])
      self._settle(power, len(power) - 2 * _CONTEXT)
      yield self._evened(position, held)

  def restore(
    self, parts: Iterable[Float[np.ndarray, "sources _time"]]
  ) -> Iterator[Float[np.ndarray, "sources _time"]]:
    """Undoes the gain on estimates that come from the start on, in parts."""
    position = 0
    for part in parts:
      gain = self._curve(position, part.shape[1])
      position += part.shape[1]
      used = position // self._frame - self._first
      self._gains, self._first = self._gains[used:], self._first + used
      yield (part / gain).astype(np.float32)

  def _measure(self, power, held):
    """Appends the power of the frames of `held` that is still missing."""
    rest = held[(len(power) - _CONTEXT) * self._frame :].astype(np.float64)
    starts = np.arange(0, len(rest), self._frame)
    energy = np.add.reduceat(np.square(rest), starts) if len(rest) else []
    lengths = np.minimum(len(rest) - starts, self._frame)
    return np.concatenate([power, energy / lengths])

  def _settle(self, power, num_frames):
    """Settles the gain at the ends of the next frames."""
    # Item n is of the start of frame n, from as much before it as after it.
    heard = np.convolve(np.isfinite(power), _WINDOW, "valid")
    mean = np.convolve(np.nan_to_num(power), _WINDOW, "valid") / heard
    floor = np.zeros(len(mean))
    ahead = 0.0
    for n in range(len(mean) - 1, -1, -1):
      floor[n] = ahead = max(_SOFT * mean[n], _SOFT_DECAY * ahead)
    first = 1 if len(self._gains) else 0
    for n in range(first, num_frames + 1):
      self._soft = max(_SOFT * mean[n], _SOFT_DECAY * self._soft)
      self._silent = max(_SILENT * mean[n], _SILENT_DECAY * self._silent)
      floor[n] = max(floor[n], self._soft, self._silent)
    level = np.sqrt(np.maximum(mean, floor)[first : num_frames + 1])
    gain = np.divide(
      MODEL_LEVEL, level, out=np.ones_like(level), where=level > 0
    )
    self._gains = np.concatenate([self._gains, gain])

  def _evened(self, position, samples):
    gain = self._curve(position, len(samples))
    return (gain * samples).astype(np.float32)

  def _curve(self, position, length):
    """The gain of some samples: linear between the starts of frames."""
    place = np.arange(position, position + length) / self._frame - self._first
    return np.interp(place, np.arange(len(self._gains)), self._gains)
