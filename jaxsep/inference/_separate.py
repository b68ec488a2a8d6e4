"""Separates recordings of any length, chunk by chunk."""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxsep.inference._cross_fade import CrossFade
from jaxsep.inference._even_level import EvenLevel
from jaxsep.inference._overlapping import Chunk, Overlapping
from jaxsep.typing import Array, Float, PyTree

# Seconds per chunk.
_CHUNK_S = 4.0
# Shorter recordings are padded to this length: each length is a compilation.
_SHORTEST = 256
_BLOCK = 1 << 16


Cut = Callable[[Iterable[np.ndarray]], Iterator[Chunk]]
Join = Callable[..., Any]  # Makes an object like a CrossFade.
Progress = Callable[[int], Any]


def separate(
  model: nn.Module,
  variables: PyTree,
  mixture: Float[Array, "time"],
  *,
  sample_rate_hz: int,
  **options: Any,
) -> Float[np.ndarray, "sources _time"]:
  """Separates a recording of any length that is in memory.

  Args:
    model: Maps `[B, T]` to `[B, S, T]`, as in `separate_blocks`.
    variables: Its variables, `{"params": ...}`.
    mixture: Recording at the model's sample rate, shape `[T]`.
    sample_rate_hz: The model's sample rate.
    options: Further options and conditions of `separate_blocks`.

  Returns:
    The sources, shape `[S, T]`, or less if `cut` or `join` leaves samples out.

  Raises:
    ValueError: As in `separate_blocks`, or if there are no samples.
    FloatingPointError: As in `separate_blocks`.

  Example:
    >>> from jaxsep import models
    >>> masker = models.TemporalConvNet(num_blocks=1, num_repeats=1)
    >>> model = models.ConvTasNet(masker=masker)
    >>> mixture = np.sin(0.1 * np.arange(5000, dtype=np.float32))
    >>> variables = jax.jit(model.init)(
    ...     jax.random.key(0), **model.example_inputs())
    >>> separate(model, variables, mixture, sample_rate_hz=8000).shape
    (2, 5000)
  """
  mixture = _real(mixture)
  if not mixture.size:
    raise ValueError("the recording has no samples")
  blocks = np.array_split(mixture, -(-len(mixture) // _BLOCK))
  parts = separate_blocks(
    model, variables, blocks, sample_rate_hz=sample_rate_hz, **options
  )
  return np.concatenate(list(parts), axis=-1)


def separate_blocks(
  model: nn.Module,
  variables: PyTree,
  blocks: Iterable[Float[Array, "_time"]],
  *,
  sample_rate_hz: int,
  cut: Cut | None = None,
  join: Join = CrossFade,
  even_level: bool = True,
  batch_size: int | None = None,
  progress: Progress | None = None,
  **conditions: Any,
) -> Iterator[Float[np.ndarray, "sources _time"]]:
  """Separates a recording that comes in blocks, in constant memory.

  The recording is brought to an even level and cut into chunks. Batches of
  chunks go through the model, which is compiled once and computes while the
  next chunks are read. Then the separated chunks are joined, and their level
  is given back. By default, chunks overlap, and each speaker stays in the same
  output throughout: `CrossFade` finds the order over the recording.

  The model's outputs may have any scale and sign: the sources of a chunk are
  scaled to add up to it in the least-squares sense, with gains that change
  little from chunk to chunk. A recording 10 times as loud gives sources 10
  times as loud; silence gives silence; and what the model leaves out, such as
  noise, stays out. A constant offset goes through the model: remove it before.

  Args:
    model: Maps `[B, T]` to `[B, S, T]` under `apply(variables, mixture,
      length=)`, where mixture b has `length[b]` samples and zeros after them.
      It should be hashable, as Flax modules are: what was compiled for it is
      kept for the next recording.
    variables: Its variables, `{"params": ...}`.
    blocks: Consecutive parts of one channel at the model's sample rate, each
      of shape `[any]`.
    sample_rate_hz: The model's sample rate.
    cut: Makes chunks from the blocks; None for `inference.Overlapping` with
      chunks of 4 s. Chunks of equal length are compiled once.
    join: Makes what joins the chunks, with the methods of
      `inference.CrossFade`; called as `join(num_sources, sample_rate_hz=...)`.
      What it returns is taken to begin with the recording, and to have no gaps.
    even_level: Whether the recording is brought to an even level. Without it,
      chunks and what joins them have the recording's own level: for
      `inference.CssWindows`, not for `CrossFade`, which expects an even one.
    batch_size: Chunks per call; None for 1 on a CPU and 8 elsewhere.
    progress: Called with the number of samples separated since the last call,
      for example `tqdm.tqdm(total=...).update`.
    conditions: Further arguments of the model, such as `enrollment` or
      `embedding`: arrays of shape `[1, ...]`, the same for all chunks.

  Yields:
    Consecutive parts of the sources, shape `[S, any]`; together as long as the
    blocks, unless `cut` or `join` leaves samples out.

  Raises:
    ValueError: If an option is out of range, or a block is not one channel or
      holds NaN or Inf.
    FloatingPointError: If the model's output holds NaN or Inf.
  """
  if batch_size is None:
    batch_size = 1 if jax.default_backend() == "cpu" else 8
  if batch_size < 1:
    raise ValueError(f"batch_size must be positive, got {batch_size}")
  conditions = {name: jnp.asarray(value) for name, value in conditions.items()}
  for name, array in conditions.items():
    if array.ndim < 1 or len(array) != 1:
      raise ValueError(f"{name} {array.shape} must have the shape [1, ...]")
  cut = cut or Overlapping(round(_CHUNK_S * sample_rate_hz))
  level = EvenLevel(sample_rate_hz) if even_level else None
  heard = checked(blocks)
  results = _run(
    functools.partial(_apply, model, variables, conditions),
    cut(level.even(heard) if level else heard),
    getattr(cut, "chunk_length", 0),
    batch_size,
  )
  join = functools.partial(join, sample_rate_hz=sample_rate_hz)
  parts = _parts(results, join, progress or (lambda count: None))
  return level.restore(parts) if level else parts


def _run(apply, chunks, chunk_length, batch_size):
  """Batches of chunks with their estimates; the model is a batch ahead."""
  waiting = []
  while batch := list(itertools.islice(chunks, batch_size)):
    # A short recording makes no full batch; a long one only full ones.
    rows = batch_size if waiting else 1 << (len(batch) - 1).bit_length()
    longest = max(len(chunk.samples) for chunk in batch)
    chunk_length = chunk_length or longest
    length = _filled_length(longest, chunk_length)
    # Returns at once: the model computes while the last batch is joined.
    stacked = _stack(batch, min(rows, batch_size), length)
    waiting.append((batch, apply(*stacked)))
    if len(waiting) > 1:
      yield waiting.pop(0)
  yield from waiting


def _parts(results, join, progress):
  """The joined estimates, in parts; chunks are reported as they are joined."""
  joined, count = None, 0
  for batch, result in results:
    estimates = finite(np.asarray(result)[: len(batch)])
    joined = join(estimates.shape[1]) if joined is None else joined
    for chunk, estimate in zip(batch, estimates, strict=True):
      part = joined.add(chunk, estimate[:, : len(chunk.samples)])
      if part.shape[1]:
        yield part
      end = chunk.start + len(chunk.samples) - chunk.num_zeros
      progress(end - count)
      count = end
  if joined is not None:
    rest = joined.flush()
    for start in range(0, rest.shape[1], _BLOCK):
      yield rest[:, start : start + _BLOCK]


@functools.partial(jax.jit, static_argnames="model")
def _apply(model, variables, conditions, mixture, length):
  conditions = {
    name: jnp.broadcast_to(value, (len(mixture), *value.shape[1:]))
    for name, value in conditions.items()
  }
  estimate = model.apply(variables, mixture, length=length, **conditions)
  return estimate.astype(jnp.float32)


def _stack(batch, rows, length):
  """Chunks `[rows, T]`, and their lengths."""
  stacked = np.zeros((rows, length), np.float32)
  lengths = np.zeros(rows, np.int32)
  for row, chunk in enumerate(batch):
    lengths[row] = len(chunk.samples)
    stacked[row, : lengths[row]] = chunk.samples
  return stacked, lengths


def _filled_length(length: int, chunk_length: int) -> int:
  """The next of few lengths, each at least two thirds of the one above."""
  if length >= chunk_length:
    return length
  least = min(max(length, _SHORTEST), chunk_length)
  lengths = [
    chunk_length * n >> 2 + halved for halved in range(32) for n in (4, 3)
  ]
  return min(filled for filled in lengths if filled >= least)


def finite(estimates: Any) -> np.ndarray:
  """Estimates of a model on the host; refuses NaN and Inf."""
  estimates = np.asarray(estimates)
  if not np.isfinite(estimates).all():
    raise FloatingPointError(
      "the model's output holds NaN or Inf: its parameters are damaged"
    )
  return estimates


def _real(samples):
  """One channel as float32 samples."""
  samples = np.asarray(samples)
  if samples.ndim != 1:
    raise ValueError(
      f"samples {samples.shape} must be [time]; take one channel at a time"
    )
  return samples.astype(np.float32, copy=False)


def checked(blocks: Iterable[Float[Array, "_time"]]) -> Iterator[np.ndarray]:
  """The blocks as finite float32 arrays."""
  position = 0
  for block in map(_real, blocks):
    if not np.isfinite(block).all():
      first = position + int(np.argmin(np.isfinite(block)))
      raise ValueError(f"the recording holds NaN or Inf at sample {first}")
    position += len(block)
    yield block
