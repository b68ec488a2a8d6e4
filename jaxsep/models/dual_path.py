"""Long sequences as chunks that overlap by half, worked through both ways.

A sequence `[B, N, F]` is cut into chunks `[B, S, K, F]`. One layer then runs
along each chunk and another across the chunks, from a place in one to the
same place in the next, so that sequences of length K and S do for one of
length S K / 2. The layers may be anything that maps `[M, L, F]` to itself.

References:
  Luo, Chen and Yoshioka, Dual-path RNN: efficient long sequence modeling for
  time-domain single-channel speech separation, 2020.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxsep.typing import Array, Float, Int


def num_chunks(length: Any, *, chunk_length: int, padding: str = "hop") -> Any:
  """Number of chunks that `segment` makes of `length` frames, or of an array.

  Example:
    >>> num_chunks(31_999, chunk_length=250)
    258
  """
  head, tail = _padding(length, chunk_length, padding)
  return (head + length + tail) // (chunk_length // 2) - 1


def segment(
  features: Float[Array, "batch frames features"],
  *,
  chunk_length: int,
  padding: str = "hop",
) -> Float[jax.Array, "batch chunks {chunk_length} features"]:
  """Cuts a sequence into chunks that overlap by half; each frame is in two.

  Args:
    features: Sequence, shape `[B, N, F]`, N at least 1.
    chunk_length: Frames of a chunk, K, even.
    padding: Zeros at both ends: `"hop"`, half a chunk, and what makes the
      number of chunks even, as in the papers' code; or `"chunk"`, a whole one,
      less what completes no chunk, as in Asteroid.

  Returns:
    Chunks, shape `[B, S, K, F]`.

  Raises:
    ValueError: If the chunk length is odd or the padding unknown.

  Example:
    >>> chunks = segment(jnp.arange(1.0, 5)[None, :, None], chunk_length=4)
    >>> chunks[0, :3, :, 0].tolist()
    [[0.0, 0.0, 1.0, 2.0], [1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 0.0, 0.0]]
  """
  batch, frames, num_features = features.shape
  ends = _padding(frames, chunk_length, padding)
  padded = jnp.pad(features, ((0, 0), ends, (0, 0)))
  # Chunks are pairs of neighbouring halves: no gather.
  halves = padded.reshape(batch, -1, chunk_length // 2, num_features)
  return jnp.concatenate([halves[:, :-1], halves[:, 1:]], axis=2)


def overlap_add(
  chunks: Float[Array, "batch chunks chunk_length features"],
  *,
  length: int,
  padding: str = "hop",
  divide: bool = False,
) -> Float[jax.Array, "batch {length} features"]:
  """Adds up the chunks of `segment`.

  Args:
    chunks: Chunks, shape `[B, S, K, F]`.
    length: Frames of the sequence that they come from, N.
    padding: That of `segment`.
    divide: Whether to divide by two, the number of chunks that a frame is in,
      which makes this the inverse of `segment`.

  Returns:
    Sequence, shape `[B, N, F]`.

  Raises:
    ValueError: If so many frames have another number of chunks.

  Example:
    >>> x = jnp.arange(6.0)[None, :, None]
    >>> chunks = segment(x, chunk_length=4)
    >>> overlap_add(chunks, length=6, divide=True)[0, :, 0].tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
  """
  batch, number, chunk_length, num_features = chunks.shape
  expected = num_chunks(length, chunk_length=chunk_length, padding=padding)
  if number != expected:
    raise ValueError(
      f"{length} frames have {expected} chunks of {chunk_length} frames, but "
      f"the chunks have shape {chunks.shape}."
    )
  half = chunk_length // 2
  halves = chunks[:, 1:, :half] + chunks[:, :-1, half:]
  sequence = halves.reshape(batch, -1, num_features)
  # The first half is in one chunk only, and gone already.
  start = _padding(length, chunk_length, padding)[0] - half
  sequence = jax.lax.slice_in_dim(sequence, start, start + length, axis=1)
  return 0.5 * sequence if divide else sequence


def along_chunks(
  layer: Callable[[jax.Array], jax.Array],
  chunks: Float[Array, "batch chunks chunk_length features"],
) -> Float[jax.Array, "batch chunks chunk_length features"]:
  """Runs a layer within each chunk: sequences of length K.

  Example:
    >>> x = jnp.arange(6.0).reshape(1, 2, 3, 1)
    >>> summed = along_chunks(lambda x: jnp.cumsum(x, axis=1), x)
    >>> summed[0, :, :, 0].tolist()
    [[0.0, 1.0, 3.0], [3.0, 7.0, 12.0]]
  """
  flat = jnp.reshape(chunks, (-1, *chunks.shape[2:]))
  return layer(flat).reshape(chunks.shape)


def across_chunks(
  layer: Callable[[jax.Array], jax.Array],
  chunks: Float[Array, "batch chunks chunk_length features"],
) -> Float[jax.Array, "batch chunks chunk_length features"]:
  """Runs a layer from chunk to chunk: sequences of length S.

  Example:
    >>> x = jnp.arange(6.0).reshape(1, 2, 3, 1)
    >>> summed = across_chunks(lambda x: jnp.cumsum(x, axis=1), x)
    >>> summed[0, :, :, 0].tolist()
    [[0.0, 1.0, 2.0], [3.0, 5.0, 7.0]]
  """
  return jnp.swapaxes(along_chunks(layer, jnp.swapaxes(chunks, 1, 2)), 1, 2)


class DualPathBlock(nn.Module):
  """One layer within the chunks, then another across them.

  Maps `[[B]atch, [S]chunks, [K]frames, [F]eatures]` to the same shape.

  Attributes:
    intra: Module for the sequences within chunks, `[M, K, F]` to the same.
    inter: Module for the sequences across chunks, `[M, S, F]` to the same. In a
      padded batch it is also given the lengths `[M]` of the sequences.
  """

  intra: Any
  inter: Any

  def __call__(
    self,
    chunks: Float[Array, "batch chunks chunk_length features"],
    num_chunks: Int[Array, "batch"] | None = None,
  ) -> Float[Array, "batch chunks chunk_length features"]:
    """Works through the chunks both ways.

    Args:
      chunks: Chunks, shape `[B, S, K, F]`.
      num_chunks: Chunks of each example that are not padding, shape `[B]`; None
        for all.

    Returns:
      Chunks of the same shape.
    """
    chunks = along_chunks(self.intra, chunks)
    inter = self.inter
    if num_chunks is not None:
      lengths = jnp.repeat(num_chunks, chunks.shape[2])
      inter = lambda x: self.inter(x, lengths)  # noqa: E731
    return across_chunks(inter, chunks)


def _padding(length, chunk_length, padding):
  """Zeros before and after the sequence."""
  if chunk_length < 2 or chunk_length % 2:
    raise ValueError(
      f"chunk_length must be even and positive, not {chunk_length}: the "
      "chunks overlap by half."
    )
  half = chunk_length // 2
  if padding == "hop":
    # 1 to a chunk of zeros that complete the last chunk, then half a chunk.
    rest = chunk_length - (half + length % chunk_length) % chunk_length
    return half, rest + half
  if padding == "chunk":
    halves = (length + chunk_length) // half + 2
    return chunk_length, halves * half - chunk_length - length
  raise ValueError(f"padding is 'hop' or 'chunk', not {padding!r}.")
