"""A mean that leaves padding out and merges over batches and hosts."""

import dataclasses

import jax
import jax.numpy as jnp

from jaxsep.typing import Array, Bool, Float, Int, Num


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MaskedMean:
  """Running mean over the rows that a mask keeps.

  A pytree of sums: adding two of them leaf by leaf, as `jax.lax.psum` does over
  a mesh axis or a sum does over hosts, merges them as well as `merge` does.

  Attributes:
    total: Sum of the values kept.
    correction: What rounding took from `total` over the merges, so that a long
      evaluation in float32 stays as exact as a single batch.
    count: Number of values kept.

  Example:
    >>> first = MaskedMean.from_values(jnp.array([1.0, 2.0]))
    >>> padded = jnp.array([6.0, jnp.nan])
    >>> last = MaskedMean.from_values(padded, jnp.array([True, False]))
    >>> print(first.merge(last).compute())
    3.0
  """

  total: Float[Array, "*shape"]
  correction: Float[Array, "*shape"]
  count: Int[Array, "*shape"]

  @classmethod
  def empty(cls) -> "MaskedMean":
    """The mean of nothing: a neutral element to start merging from."""
    zero = jnp.zeros((), jnp.float32)
    return cls(total=zero, correction=zero, count=jnp.zeros((), jnp.int32))

  @classmethod
  def from_values(
    cls, values: Num[Array, "..."], mask: Bool[Array, "..."] | None = None
  ) -> "MaskedMean":
    """The mean of one batch.

    Args:
      values: Values, shape `[B, ...]`.
      mask: True on the rows to keep, shape of the first axes of `values`; None
        keeps all. What stands in the other rows, NaN included, has no effect.

    Returns:
      The mean, to be merged with others.

    Raises:
      ValueError: If the mask is not shaped as the first axes of the values.
    """
    values = jnp.asarray(values).astype(jnp.float32)
    mask = jnp.ones(values.shape, bool) if mask is None else jnp.asarray(mask)
    if values.shape[: mask.ndim] != mask.shape:
      raise ValueError(
        f"mask {mask.shape} must be shaped as the first axes of values"
        f" {values.shape}"
      )
    mask = mask.reshape(mask.shape + (1,) * (values.ndim - mask.ndim))
    kept = jnp.where(mask, values, 0.0)
    count = jnp.sum(jnp.broadcast_to(mask, values.shape), dtype=jnp.int32)
    total = jnp.sum(kept)
    return cls(total=total, correction=jnp.zeros_like(total), count=count)

  def merge(self, other: "MaskedMean") -> "MaskedMean":
    """The mean over the rows of both.

    Args:
      other: The mean over other rows.

    Returns:
      A new one; neither of the two is changed.
    """
    total, lost = _two_sum(self.total, other.total)
    # Folded back in each time, so that what is left over stays small enough to
    # be exact itself.
    total, correction = _two_sum(
      total, self.correction + other.correction + lost
    )
    return MaskedMean(
      total=total, correction=correction, count=self.count + other.count
    )

  def compute(self) -> Float[Array, "*shape"]:
    """The mean; NaN if no row was kept."""
    count = self.count.astype(jnp.float32)
    return (self.total + self.correction) / count


def _two_sum(left, right):
  """A sum in float32 and its exact rounding error (Knuth)."""
  total = left + right
  added = total - left
  error = (left - (total - added)) + (right - added)
  # The error of an infinite total is undefined; keep the infinity.
  return total, jnp.where(jnp.isfinite(total), error, 0.0)
