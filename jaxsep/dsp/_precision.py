"""The precision that statistics are computed in."""

import jax.numpy as jnp

from jaxsep.typing import Array, Inexact, Num


def at_least_float32(
  signal: Inexact[Array, "*shape"] | float | int,
) -> Inexact[Array, "*shape"]:
  """The signal in a type that is precise enough for sums over time.

  Args:
    signal: Any shape; bfloat16 and float16 become float32, other types stay.

  Returns:
    The same values as a JAX array.

  Example:
    >>> print(at_least_float32(jnp.ones(2, jnp.bfloat16)).dtype)
    float32
  """
  # Lists have no type to promote before they are arrays.
  signal = jnp.asarray(signal)
  return signal.astype(jnp.promote_types(signal.dtype, jnp.float32))


def inexact(
  signal: Num[Array, "*shape"] | float | int,
) -> Inexact[Array, "*shape"]:
  """The signal as an array; whole numbers become float32."""
  signal = jnp.asarray(signal)
  if jnp.issubdtype(signal.dtype, jnp.inexact):
    return signal
  return signal.astype(jnp.float32)
