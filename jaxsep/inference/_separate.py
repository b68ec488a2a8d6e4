"""Separates recordings of any length, chunk by chunk."""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxsep.inference._chunks import Chunk, cut
from jaxsep.inference._stitch import Stitcher
from jaxsep.typing import Array, Float, PyTree

# The RMS at which a model gets to hear a recording.
_MODEL_LEVEL = 0.1
# Recordings shorter than a chunk: the lengths to fill them up to end here.
_SHORTEST = 256

Progress = Callable[[int], Any]


def separate(
  model: nn.Module,
  params: PyTree,
  mixture: Float[Array, "time"],
  *,
  chunk_length: int = 64000,
  overlap: int | None = None,
  batch_size: int | None = None,
  progress: Progress | None = None,
) -> Float[np.ndarray, "sources time"]:
  """Separates a recording of any length that is in memory.

  As `separate_blocks`, which see, for a whole recording.

  Args:
    model: Maps `[B, T]` to `[B, S, T]`.
    params: Its parameters.
    mixture: Recording at the model's sample rate, shape `[T]`.
    chunk_length: As in `separate_blocks`.
    overlap: As in `separate_blocks`.
    batch_size: As in `separate_blocks`.
    progress: As in `separate_blocks`.

  Returns:
    The sources, shape `[S, T]`.

  Raises:
    ValueError: As in `separate_blocks`, or if there are no samples.
    FloatingPointError: As in `separate_blocks`.

  Example:
    >>> from jaxsep import models
    >>> model = models.ConvTasNet(
    ...     num_filters=8, bottleneck_channels=4, hidden_channels=4,
    ...     skip_channels=4, num_blocks=1, num_repeats=1)
    >>> mixture = np.sin(0.1 * np.arange(5000, dtype=np.float32))
    >>> params = model.init(jax.random.key(0), mixture[np.newaxis])["params"]
    >>> separate(model, params, mixture, chunk_length=2000).shape
    (2, 5000)
  """
  mixture = _real(mixture)
  if not mixture.size:
    raise ValueError("the recording has no samples")
  blocks = np.array_split(mixture, -(-len(mixture) // max(1, chunk_length)))
  parts = separate_blocks(
    model,
    params,
    blocks,
    chunk_length=chunk_length,
    overlap=overlap,
    batch_size=batch_size,
    progress=progress,
  )
  first = next(parts)
  voices = np.empty((len(first), len(mixture)), np.float32)
  position = 0
  for part in itertools.chain([first], parts):
    voices[:, position : position + part.shape[1]] = part
    position += part.shape[1]
  return voices


def separate_blocks(
  model: nn.Module,
  params: PyTree,
  blocks: Iterable[Float[Array, "_time"]],
  *,
  chunk_length: int = 64000,
  overlap: int | None = None,
  batch_size: int | None = None,
  progress: Progress | None = None,
) -> Iterator[Float[np.ndarray, "sources _time"]]:
  """Separates a recording that comes in blocks, in constant memory.

  The recording is cut into chunks of one length that overlap; a batch of them
  goes through the model in one call, compiled once, while the next one is
  read. Each voice stays in the same output throughout: the order of the
  sources of a chunk is settled on its overlap with what came before it.

  Levels come from the recording, not from the model, whose output may have
  any scale and sign: the sources of a chunk are scaled to add up to it in the
  least-squares sense, with gains that change little from chunk to chunk. A
  recording 10 times as loud gives sources 10 times as loud; silence gives
  silence; and what the model leaves out, such as noise, stays out.

  Args:
    model: Maps `[B, T]` to `[B, S, T]` under `apply({"params": params}, ...)`.
      It should be hashable, as Flax modules are: what was compiled for it is
      kept for the next recording.
    params: Its parameters.
    blocks: Consecutive stretches of one channel at the model's sample rate,
      each of shape `[any]`.
    chunk_length: Samples per chunk; 8 s at 8 kHz if not given. Longer chunks
      need more memory and settle voices better.
    overlap: Samples shared by neighbours at least; None for a quarter of a
      chunk. Where there is no speech in them, the overlap is longer.
    batch_size: Chunks per call; None for 1 on a CPU and 8 elsewhere.
    progress: Called with the number of samples finished since the last call,
      for example `tqdm.tqdm(total=...).update`.

  Yields:
    Consecutive stretches of the sources, shape `[S, any]`; together exactly
    as long as the blocks.

  Raises:
    ValueError: If an option is out of range, or a block is not one channel
      of real numbers, or holds NaN or Inf.
    FloatingPointError: If the model's output does.
  """
  if chunk_length < 1:
    raise ValueError(f"chunk_length must be positive, got {chunk_length}")
  if overlap is None:
    overlap = chunk_length // 4
  if not 0 <= overlap < chunk_length:
    raise ValueError(
      f"overlap must be from 0 to below chunk_length {chunk_length}, got"
      f" {overlap}"
    )
  if batch_size is None:
    batch_size = 1 if jax.default_backend() == "cpu" else 8
  if batch_size < 1:
    raise ValueError(f"batch_size must be positive, got {batch_size}")
  return _separate(
    model,
    jax.device_put(params),
    cut(_checked(blocks), chunk_length=chunk_length, overlap=overlap),
    chunk_length,
    batch_size,
    progress or (lambda count: None),
  )


def _separate(model, params, chunks, chunk_length, batch_size, progress):
  """Runs the batches, one of them ahead, and joins what they give."""
  stitcher: Stitcher | None = None

  def finish(batch, result):
    nonlocal stitcher
    estimates = np.asarray(result)
    if not np.isfinite(estimates).all():
      raise FloatingPointError(
        "the model's output holds NaN or Inf: its parameters are damaged"
      )
    if stitcher is None:
      stitcher = Stitcher(estimates.shape[1])
    for chunk, estimate in zip(batch, estimates, strict=False):
      yield stitcher.add(chunk, estimate[:, : len(chunk.samples)])

  def report(parts):
    for part in parts:
      if part.shape[1]:
        yield part
        progress(part.shape[1])

  waiting = None
  is_first = True
  while batch := list(itertools.islice(chunks, batch_size)):
    # A short recording makes no full batch; a long one only full ones.
    rows = _power_of_two(len(batch)) if is_first else batch_size
    rows = min(rows, batch_size)
    is_first = False
    # Returns at once: the model computes while the last batch is joined.
    result = _apply(model, params, _stack(batch, rows, chunk_length))
    if waiting is not None:
      yield from report(finish(*waiting))
    waiting = batch, result
  if waiting is not None:
    yield from report(finish(*waiting))
  if stitcher is not None:
    yield from report([stitcher.flush()])


@functools.partial(jax.jit, static_argnames="model")
def _apply(model, params, mixture):
  return model.apply({"params": params}, mixture).astype(jnp.float32)


def _stack(batch: list[Chunk], rows: int, chunk_length: int) -> np.ndarray:
  """Chunks as a batch `[rows, T]` at the level that the model gets to hear."""
  length = len(batch[0].samples)
  if length < chunk_length:
    length = _filled_length(length, chunk_length)
  stacked = np.zeros((rows, length), np.float32)
  for row, chunk in zip(stacked, batch, strict=False):
    if chunk.level:
      scaled = chunk.samples * (np.float64(_MODEL_LEVEL) / chunk.level)
      # Mirrored, not zeros: silence would change the model's normalisation.
      row[:] = np.pad(scaled, (0, length - len(scaled)), "symmetric")
  return stacked


def _filled_length(length: int, chunk_length: int) -> int:
  """The next of few lengths, each at least two thirds of the one above."""
  quarters = [(quarter, n) for n in range(32) for quarter in (4, 3)]
  lengths = [chunk_length * quarter >> 2 + n for quarter, n in quarters]
  return min(
    filled
    for filled in [chunk_length, *lengths]
    if filled >= min(max(length, _SHORTEST), chunk_length)
  )


def _power_of_two(count):
  return 1 << (count - 1).bit_length()


def _real(samples):
  """One channel as float32 samples."""
  samples = np.asarray(samples)
  if samples.ndim != 1:
    raise ValueError(
      f"samples {samples.shape} must be [time]; take one channel at a time"
    )
  if not np.can_cast(samples.dtype, np.float64, "same_kind"):
    raise ValueError(f"samples must be real numbers, got {samples.dtype}")
  return samples.astype(np.float32, copy=False)


def _checked(blocks):
  """The blocks as finite float32 arrays."""
  position = 0
  for block in map(_real, blocks):
    if not np.isfinite(block).all():
      first = position + int(np.argmin(np.isfinite(block)))
      raise ValueError(f"the recording holds NaN or Inf at sample {first}")
    position += len(block)
    yield block
