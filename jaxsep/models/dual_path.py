"""Long sequences as chunks that overlap by half, worked through both ways.

A sequence `[B, N, F]` is cut into chunks `[B, S, K, F]`. One layer runs along
each chunk and another across the chunks, from a place in one to the same place
in the next: sequences of lengths K and S in place of one of length S K / 2.

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
  """Number of chunks that `segment` makes of a length or an array of lengths.

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
  """Cuts `[B, N, F]` into chunks that overlap by half; each frame is in two.

  With `padding="hop"`, zeros at both ends are half a chunk, and what makes the
  number of chunks even, as in the papers' code; with `"chunk"`, a whole one,
  less what completes no chunk, as in Asteroid.

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
  """Adds up the chunks of `segment` to a sequence of `length` frames.

  With `divide`, the sum is halved, as each frame is in two chunks, which makes
  this the inverse of `segment`.
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
  """Runs a layer within each chunk: sequences of length K."""
  flat = jnp.reshape(chunks, (-1, *chunks.shape[2:]))
  return layer(flat).reshape(chunks.shape)


def across_chunks(
  layer: Callable[[jax.Array], jax.Array],
  chunks: Float[Array, "batch chunks chunk_length features"],
) -> Float[jax.Array, "batch chunks chunk_length features"]:
  """Runs a layer from chunk to chunk: sequences of length S."""
  return jnp.swapaxes(along_chunks(layer, jnp.swapaxes(chunks, 1, 2)), 1, 2)


class DualPathBlock(nn.Module):
  """One layer within the chunks, then another across them.

  Maps `[[B]atch, [S]chunks, [K]frames, [F]eatures]` to the same shape.

  Attributes:
    intra: Module for the sequences within chunks, `[M, K, F]`.
    inter: Module for the sequences across chunks, `[M, S, F]`. In a padded
      batch it is also given the lengths `[M]` of the sequences.
  """

  intra: Any
  inter: Any

  def __call__(
    self,
    chunks: Float[Array, "batch chunks chunk_length features"],
    num_chunks: Int[Array, "batch"] | None = None,
  ) -> Float[Array, "batch chunks chunk_length features"]:
    """Runs both layers; `num_chunks` are those that are not padding."""
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
    # 1 to K zeros complete the last chunk; then follows half a chunk.
    rest = chunk_length - (half + length % chunk_length) % chunk_length
    return half, rest + half
  if padding == "chunk":
    halves = (length + chunk_length) // half + 2
    return chunk_length, halves * half - chunk_length - length
  raise ValueError(f"padding is 'hop' or 'chunk', not {padding!r}.")
