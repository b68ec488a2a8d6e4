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


def check_rate(sample_rate_hz: int) -> None:
  """Refuses what is no sample rate.

  Raises:
    ValueError: If it is not a positive whole number.
  """
  if sample_rate_hz < 1 or sample_rate_hz != int(sample_rate_hz):
    raise ValueError(
      f"sample rate {sample_rate_hz} must be a positive whole number of Hz"
    )


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
  blocks = list(
    resample_blocks(
      [signal],
      orig_rate_hz=orig_rate_hz,
      target_rate_hz=target_rate_hz,
      length=length,
    )
  )
  return (
    np.concatenate(blocks, axis=-1)
    if blocks
    else np.zeros((len(signal), 0), np.float32)
  )


def resample_blocks(
  blocks: Iterable[Float[np.ndarray, "channel _time"]],
  *,
  orig_rate_hz: int,
  target_rate_hz: int,
  length: int | Callable[[], int] | None = None,
) -> Iterator[Float[np.ndarray, "channel _time"]]:
  """Changes the sample rate of a signal that comes in blocks.

  Args:
    blocks: Consecutive stretches, shape `[C, any]`.
    orig_rate_hz: Their rate.
    target_rate_hz: The rate to have.
    length: As in `resample`; or a function that tells when the blocks have
      ended, for a length that is not known before.

  Yields:
    Consecutive stretches at the new rate, shape `[C, any]`.

  Raises:
    ValueError: If a rate is not a positive whole number.
  """
  check_rate(orig_rate_hz)
  check_rate(target_rate_hz)
  taken = given = 0
  stream = shape = None
  for block in blocks:
    if stream is None:
      shape = block.shape[0]
      stream = (
        None
        if orig_rate_hz == target_rate_hz
        else soxr.ResampleStream(
          orig_rate_hz, target_rate_hz, shape, dtype="float32"
        )
      )
    taken += block.shape[1]
    if stream is not None:
      block = stream.resample_chunk(np.ascontiguousarray(block.T)).T
    if isinstance(length, int):
      block = block[:, : length - given]
    if block.shape[1]:
      given += block.shape[1]
      yield block
  if shape is None:
    return
  if length is None:
    total = -(-taken * target_rate_hz // orig_rate_hz)
  else:
    total = length if isinstance(length, int) else length()
  if stream is not None:
    rest = np.zeros((0, shape), np.float32)
    rest = stream.resample_chunk(rest, last=True).T[:, : max(0, total - given)]
    given += rest.shape[1]
    if rest.shape[1]:
      yield rest
  if given < total:
    yield np.zeros((shape, total - given), np.float32)
