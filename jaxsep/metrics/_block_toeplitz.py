"""Symmetric block-Toeplitz systems: factorised once, solved many times.

A system of S signals and L lags has S x S blocks `C(k - m)` at block row m and
block column k, with `C(-k) = C(k)^T`. In this file an array of blocks is
`[B, S, S, L]` and a vector of the system `[B, J, S, L]`: B systems, J right-
hand sides each, lags last.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Factors(NamedTuple):
  """The inverse of a system: spectra `[B, S, S, F]` of its predictors.

  The backward one is one lag late; the weights `[B, S, S]` are the inverses of
  their error covariances. `system` is the spectrum of the blocks themselves.
  """

  forward: jax.Array
  backward: jax.Array
  forward_weight: jax.Array
  backward_weight: jax.Array
  system: jax.Array


def factorize(lags, *, loading):
  """Finds the predictors of a system in `O(S^3 L^2)` without any inner product.

  Levinson's recursion for the predictors needs, at each order, the next
  element of "system times predictor"; Schur's recursion carries just that
  product. The predictor of order n fills the first n places of an array and
  the rest of the product needs the others, so both live in one array and each
  order is one elementwise pass, which is why this is many times faster than a
  Cholesky factorisation of the same system.

  `loading` `[B, S]` is added to the diagonal of `C(0)`: about 1e-5 of it keeps
  the recursion stable in float32; `solve` takes its effect out. See Akaike,
  Block Toeplitz matrix inversion, 1973.
  """
  num_signals, num_lags = lags.shape[-2:]
  eye = jnp.eye(num_signals, dtype=lags.dtype)
  loaded = lags.at[..., 0].add(loading[..., None] * eye[None])
  covariance = loaded[..., 0]
  start = jnp.swapaxes(loaded, 1, 2).at[..., 0].set(eye[None])
  place = jnp.arange(num_lags).reshape(1, 1, 1, -1)

  def raise_order(order, carry):
    forward, backward, forward_error, backward_error = carry
    # What the forward predictor leaves at the new lag; its transpose is what
    # the backward one leaves.
    left = jax.lax.dynamic_index_in_dim(forward, order, 3, keepdims=False)
    right = jnp.swapaxes(left, 1, 2)
    by_backward = _product(small_inverse(backward_error), left)
    by_forward = _product(small_inverse(forward_error), right)
    forward = jnp.where(place == order, 0.0, forward)
    backward = _delay(backward)
    return (
      forward - _lagwise_product(backward, by_backward),
      backward - _lagwise_product(forward, by_forward),
      forward_error - _product(right, by_backward),
      backward_error - _product(left, by_forward),
    )

  forward, backward, forward_error, backward_error = jax.lax.fori_loop(
    1, num_lags, raise_order, (start, start, covariance, covariance)
  )
  # The circulant of twice the size that has the system in its corner.
  blocks = jnp.swapaxes(lags, 1, 2)
  ring = [blocks, jnp.zeros_like(blocks[..., :1]), lags[..., :0:-1]]
  return Factors(
    forward=_spectrum(forward),
    backward=_spectrum(_delay(backward)),
    forward_weight=small_inverse(forward_error),
    backward_weight=small_inverse(backward_error),
    system=jnp.fft.rfft(jnp.concatenate(ring, axis=-1)),
  )


def solve(factors, target, *, num_steps=3):
  """Solves the system as given, without the loading of its factors.

  Conjugate gradients with the factors as preconditioner. The first step is the
  direct solution; the next take out the loading and what rounding did to the
  factors, while directions that the system hardly has stay regularised.
  """

  def step(_, carry):
    solution, residual, direction, power = carry
    reduced = _apply_inverse(factors, residual)
    new_power = _dot(residual, reduced)
    direction = reduced + _ratio(new_power, power) * direction
    image = apply_system(factors, direction)
    length = _ratio(new_power, _dot(direction, image))
    return (
      solution + length * direction,
      residual - length * image,
      direction,
      new_power,
    )

  nothing = jnp.zeros_like(target)
  start = (nothing, target, nothing, nothing[..., :1, :1])
  return jax.lax.fori_loop(0, num_steps, step, start)[0]


def _apply_inverse(factors, vector):
  """Product with the inverse of the loaded system (Gohberg and Heinig)."""
  spectrum = _spectrum(vector)
  ahead = _one_sided(factors.forward, factors.forward_weight, spectrum)
  behind = _one_sided(factors.backward, factors.backward_weight, spectrum)
  return _first_lags(ahead - behind)


def _one_sided(predictor, weight, spectrum):
  """Lower-triangular Toeplitz times weight times its transpose, as spectrum."""
  within = _first_lags(_sum_rows(jnp.conj(predictor), spectrum))
  weighted = _sum_columns(weight[..., None], within)
  return _sum_columns(predictor, _spectrum(weighted))


def apply_system(factors, vector):
  """Product with the system as given, `[B, J, S, L]` to the same."""
  return _first_lags(_sum_columns(factors.system, _spectrum(vector)))


def _sum_columns(blocks, vector):
  """Blocks times vector: `[B, S, S, F]`, `[B, J, S, F]` to `[B, J, S, F]`."""
  return sum(
    blocks[:, None, :, s] * vector[:, :, None, s]
    for s in range(blocks.shape[2])
  )


def _sum_rows(blocks, vector):
  """Transposed blocks times vector."""
  return sum(
    blocks[:, None, s] * vector[:, :, None, s] for s in range(blocks.shape[1])
  )


def _spectrum(lags):
  """Spectrum of lags followed by as many zeros."""
  return jnp.fft.rfft(lags, 2 * lags.shape[-1])


def _first_lags(spectrum):
  """The first half of what a spectrum stands for."""
  size = 2 * (spectrum.shape[-1] - 1)
  return jnp.fft.irfft(spectrum, size)[..., : size // 2]


def _delay(lags):
  """One lag later."""
  return jnp.concatenate(
    [jnp.zeros_like(lags[..., :1]), lags[..., :-1]], axis=-1
  )


def _lagwise_product(blocks, matrix):
  """`[B, S, S, L]` times `[B, S, S]` at every lag."""
  return sum(
    blocks[:, :, s, None, :] * matrix[:, None, s, :, None]
    for s in range(matrix.shape[-1])
  )


def _product(left, right):
  """Product of small matrices, written out: a library call would cost more."""
  return sum(
    left[:, :, s, None] * right[:, None, s] for s in range(left.shape[-1])
  )


def small_inverse(matrix):
  """Inverse of small positive definite matrices, `[B, S, S]`."""
  size = matrix.shape[-1]
  cells = {(i, j): matrix[:, i, j] for i in range(size) for j in range(size)}
  # Gauss and Jordan in place; positive definite matrices need no pivoting.
  for k in range(size):
    others = [i for i in range(size) if i != k]
    pivot = 1.0 / cells[k, k]
    for j in others:
      cells[k, j] = cells[k, j] * pivot
    for i in others:
      for j in others:
        cells[i, j] = cells[i, j] - cells[i, k] * cells[k, j]
    for i in others:
      cells[i, k] = -cells[i, k] * pivot
    cells[k, k] = pivot
  rows = [
    jnp.stack([cells[i, j] for j in range(size)], axis=-1) for i in range(size)
  ]
  return jnp.stack(rows, axis=-2)


def _dot(left, right):
  """Inner product of vectors of the system."""
  return jnp.sum(left * right, axis=(-2, -1), keepdims=True)


def _ratio(numerator, denominator):
  """Quotient of two powers; 0 where either is not positive."""
  valid = (numerator > 0) & (denominator > 0)
  return jnp.where(valid, numerator / jnp.where(valid, denominator, 1.0), 0.0)
