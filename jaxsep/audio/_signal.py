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


def resample(
  signal: Float[np.ndarray, "channel time"],
  *,
  orig_rate_hz: int,
  target_rate_hz: int,
  length: int | None = None,
) -> Float[np.ndarray, "channel new_time"]:
  """Changes the sample rate of a signal; any two rates.

  Args:
    signal: Signal, shape `[C, T]`.
    orig_rate_hz: Its rate.
    target_rate_hz: The rate to have.
    length: Samples to return: the end is cut or filled with zeros. None for
      the exact duration, rounded up.

  Returns:
    Signal, shape `[C, length]`.

  Raises:
    ValueError: If a rate is not a positive whole number.
  """
  blocks = resample_blocks(
    [signal],
    orig_rate_hz=orig_rate_hz,
    target_rate_hz=target_rate_hz,
    length=length,
  )
  empty = np.zeros((len(signal), 0), np.float32)
  return np.concatenate([empty, *blocks], axis=-1)


def resample_blocks(
  blocks: Iterable[Float[np.ndarray, "channel _time"]],
  *,
  orig_rate_hz: int,
  target_rate_hz: int,
  length: int | Callable[[], int] | None = None,
) -> Iterator[Float[np.ndarray, "channel _time"]]:
  """Changes the sample rate of a signal that comes in blocks.

  Args:
    blocks: Consecutive segments, shape `[C, any]`.
    orig_rate_hz: Their rate.
    target_rate_hz: The rate to have.
    length: As in `resample`, or a function that gives it when the blocks have
      ended.

  Yields:
    Consecutive segments at the new rate, shape `[C, any]`.

  Raises:
    ValueError: If a rate is not a positive whole number.
  """
  for rate in (orig_rate_hz, target_rate_hz):
    if rate < 1 or rate != int(rate):
      raise ValueError(f"rate {rate} must be a positive whole number of Hz")
  taken = given = num_channels = 0
  stream = None
  for block in blocks:
    if not num_channels:
      num_channels = block.shape[0]
      if orig_rate_hz != target_rate_hz:
        stream = soxr.ResampleStream(
          orig_rate_hz, target_rate_hz, num_channels, dtype="float32"
        )
    taken += block.shape[1]
    if stream is not None:
      block = stream.resample_chunk(np.ascontiguousarray(block.T)).T
    if isinstance(length, int):
      block = block[:, : length - given]
    if block.shape[1]:
      given += block.shape[1]
      yield block
  if not num_channels:
    return
  if length is None:
    total = -(-taken * target_rate_hz // orig_rate_hz)
  else:
    total = length if isinstance(length, int) else length()
  rest = np.zeros((num_channels, 0), np.float32)
  if stream is not None:
    rest = stream.resample_chunk(np.ascontiguousarray(rest.T), last=True).T
    rest = rest[:, : max(0, total - given)]
  missing = max(0, total - given - rest.shape[1])
  rest = np.pad(rest, ((0, 0), (0, missing)))
  if rest.shape[1]:
    yield rest
