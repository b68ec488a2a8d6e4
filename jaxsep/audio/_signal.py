"""Channels and sample rates of recordings."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import soxr

from jaxsep.typing import Float


def to_mono(
  signal: Float[np.ndarray, "channel time"], *, channel: str | int = "mix"
) -> Float[np.ndarray, "time"]:
  """One channel of a recording, or the mean of all.

  Args:
    signal: Recording, shape `[C, T]`.
    channel: `"mix"` for the mean of the channels, or an index from 0.

  Returns:
    Signal, shape `[T]`.

  Raises:
    ValueError: If there is no such channel.

  Example:
    >>> to_mono(np.float32([[1, 1], [0, 2]]))
    array([0.5, 1.5], dtype=float32)
  """
  if channel == "mix":
    return signal.mean(axis=0, dtype=np.float32)
  if not isinstance(channel, int) or not 0 <= channel < len(signal):
    raise ValueError(
      f'channel must be "mix" or from 0 to {len(signal) - 1}, got {channel!r}'
    )
  return signal[channel]


def resample_blocks(
  blocks: Iterable[Float[np.ndarray, "channel _time"]],
  *,
  orig_rate_hz: int,
  target_rate_hz: int,
  length: Callable[[], int] | None = None,
) -> Iterator[Float[np.ndarray, "channel _time"]]:
  """Changes the sample rate of a signal that comes in blocks; any two rates.

  Args:
    blocks: Consecutive segments, shape `[C, any]`.
    orig_rate_hz: Their rate.
    target_rate_hz: The rate to have.
    length: Called when the blocks have ended, gives the total number of
      samples to yield: the end is cut or filled with zeros. None for the exact
      duration, rounded up.

  Yields:
    Consecutive segments at the new rate, shape `[C, any]`.

  Raises:
    ValueError: If a rate is not a positive whole number.

  Example:
    >>> blocks = [np.zeros((1, 100), np.float32)] * 3
    >>> change = {"orig_rate_hz": 8000, "target_rate_hz": 16000}
    >>> np.concatenate([*resample_blocks(blocks, **change)], axis=1).shape
    (1, 600)
  """
  for rate in (orig_rate_hz, target_rate_hz):
    if rate < 1 or rate != int(rate):
      raise ValueError(f"rate {rate} must be a positive whole number of Hz")
  taken = given = 0
  rest = stream = None
  for block in blocks:
    if rest is None:
      rest = np.zeros((len(block), 0), np.float32)
      if orig_rate_hz != target_rate_hz:
        stream = soxr.ResampleStream(
          orig_rate_hz, target_rate_hz, len(block), dtype="float32"
        )
    taken += block.shape[1]
    if stream is not None:
      block = stream.resample_chunk(np.ascontiguousarray(block.T)).T
    if block.shape[1]:
      given += block.shape[1]
      yield block
  if rest is None:
    return
  if stream is not None:
    rest = stream.resample_chunk(np.ascontiguousarray(rest.T), last=True).T
  total = length() if length else -(-taken * target_rate_hz // orig_rate_hz)
  missing = max(0, total - given)
  rest = rest[:, :missing]
  rest = np.pad(rest, ((0, 0), (0, missing - rest.shape[1])))
  if missing:
    yield rest
