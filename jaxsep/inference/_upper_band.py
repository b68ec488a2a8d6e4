"""The band above a model's Nyquist frequency, shared among its outputs."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from jaxsep import audio
from jaxsep.typing import Float

Blocks = Iterable[np.ndarray]
# Shares follow the energy above this part of the model's Nyquist frequency, in
# Hann windows of this length: the best of those that were tried with
# `experiments.benchmarks.upper_band`.
_FROM, _WINDOW_S = 0.85, 0.05
# Half the length of the filter that keeps this band.
_REACH = 32


def with_upper_band(
  blocks: Iterable[Float[np.ndarray, "1 _time"]],
  separate: Callable[[Blocks], Blocks],
  *,
  sample_rate_hz: int,
  model_rate_hz: int,
) -> Iterator[Float[np.ndarray, "sources _time"]]:
  """Separates a recording with a model of a lower sample rate, at its own rate.

  Below half the model's rate, the sources are the model's. What the recording
  has above it is divided among them, at each time in proportion to their
  energy in the uppermost 15 % of the model's band, in a window of 50 ms. What
  the model leaves out there, such as noise, is left out above it too: the
  shares add up to the energy of the sources' sum relative to the recording's,
  at most 1. The speakers of the upper band are told apart in time only, not in
  frequency.

  Args:
    blocks: Consecutive parts of one channel, shape `[1, any]`.
    separate: Maps such blocks at the model's rate to blocks of sources
      `[S, any]`, together as long; usually calls `separate_blocks`.
    sample_rate_hz: Rate of the recording.
    model_rate_hz: Rate of the model, lower than that.

  Yields:
    Consecutive parts of the sources at the recording's rate, shape `[S, any]`;
    together as long as the blocks.

  Raises:
    ValueError: If the recording has no upper band: its rate is not higher.

  Example:
    >>> def halve(blocks):
    ...   for block in blocks:
    ...     yield np.tile(block / 2, (2, 1))
    >>> mixture = np.float32(np.sin(2.5 * np.arange(16000)))[np.newaxis]
    >>> parts = with_upper_band(
    ...   [mixture], halve, sample_rate_hz=16000, model_rate_hz=8000)
    >>> sources = np.concatenate(list(parts), axis=1)
    >>> bool(np.allclose(sources.sum(axis=0), mixture, atol=1e-6))
    True
  """
  if sample_rate_hz <= model_rate_hz:
    raise ValueError(
      f"a recording at {sample_rate_hz} Hz has nothing above the band of a"
      f" model at {model_rate_hz} Hz"
    )
  recording, heard = _Queue(), _Queue()
  lower = audio.resample_blocks(
    recording.passing(blocks),
    orig_rate_hz=sample_rate_hz,
    target_rate_hz=model_rate_hz,
  )
  sources = separate(heard.passing(lower))
  # Through one resampler: what the model heard is subtracted without a delay.
  together = audio.resample_blocks(
    _with_shares(sources, heard, model_rate_hz),
    orig_rate_hz=model_rate_hz,
    target_rate_hz=sample_rate_hz,
    length=lambda: recording.num_samples,
  )
  for block in together:
    estimate, excess = np.split(block[1:], 2)
    upper = recording.take(block.shape[1]) - block[:1]
    yield estimate + (1 / len(excess) + excess) * upper


class _Queue:
  """Samples `[1, T]` that are kept until they are taken.

  Attributes:
    num_samples: How many have come.
  """

  def __init__(self):
    self.num_samples = 0
    self._kept = np.zeros((1, 0), np.float32)

  def passing(self, blocks):
    """The blocks, each of which is kept as it passes."""
    for block in blocks:
      self.num_samples += block.shape[1]
      self._kept = np.concatenate([self._kept, block], axis=1)
      yield block

  def take(self, count):
    """The first samples, which are no longer kept."""
    taken, self._kept = np.split(self._kept, [count], axis=1)
    return taken


def _with_shares(sources, heard, rate):
  """What the model heard, the sources, what they get beyond equal shares.

  Yields blocks `[1 + 2 S, any]`.
  """
  band = _high_pass()
  window = np.hanning(2 * round(_WINDOW_S * rate / 2) + 1)
  reach = _REACH + len(window) // 2
  waiting = None
  for block in sources:
    block = np.concatenate([heard.take(block.shape[1]), block])
    if waiting is None:
      waiting = np.zeros((len(block), reach), np.float32)
    waiting = np.concatenate([waiting, block], axis=1)
    if waiting.shape[1] > 2 * reach:
      yield _shared(waiting, band, window)
      waiting = waiting[:, -2 * reach :]
  if waiting is not None:
    ending = np.zeros((len(waiting), reach), np.float32)
    waiting = np.concatenate([waiting, ending], axis=1)
    if waiting.shape[1] > 2 * reach:
      yield _shared(waiting, band, window)


def _shared(rows, band, window):
  """The block of `_with_shares` in the middle of what is around it."""
  high = np.stack([np.convolve(row, band, "valid") for row in rows])
  high = np.concatenate([high, high[1:].sum(axis=0, keepdims=True)])
  energy = [np.convolve(row, window, "valid") for row in np.square(high)]
  energy = np.stack(energy) + np.finfo(np.float32).tiny  # Of silence too.
  heard, sources, together = energy[0], energy[1:-1], energy[-1]
  share = sources / sources.sum(axis=0) * np.minimum(together / heard, 1)
  reach = (rows.shape[1] - share.shape[1]) // 2
  parts = rows[:, reach:-reach], share - 1 / len(share)
  return np.concatenate(parts, dtype=np.float32)


def _high_pass():
  """Impulse response of a filter that keeps the band of `_FROM`."""
  time = np.arange(-_REACH, _REACH + 1)
  low = np.sinc(_FROM * time) * np.hamming(len(time))
  return (time == 0) - low / low.sum()
