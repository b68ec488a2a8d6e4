"""Checks of hyper-parameters, when a model is traced."""

from collections.abc import Collection

import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxsep.typing import Array


def check_positive(**values: int) -> None:
  """Raises a ValueError for the first value that is not a positive count."""
  for name, value in values.items():
    if value < 1:
      raise ValueError(f"{name} must be at least 1, not {value}.")


def check_choice(name: str, value: object, known: Collection) -> None:
  """Raises a ValueError unless an option is one of those that are known."""
  if value not in known:
    words = ", ".join(repr(word) for word in known)
    raise ValueError(f"unknown {name} {value!r}: choose one of {words}.")


def check_floating(dtype: DTypeLike) -> None:
  """Raises a ValueError unless the type is a floating-point type."""
  if not jnp.issubdtype(dtype, jnp.floating):
    raise ValueError(
      f"dtype must be a floating-point type, not {jnp.dtype(dtype).name}."
    )


def check_mixture(mixture: Array) -> None:
  """Raises a ValueError unless the mixtures are `[B, T]` and not empty."""
  if mixture.ndim != 2 or mixture.shape[1] < 1:
    raise ValueError(
      f"the mixture must have shape [batch, time], not {mixture.shape}."
    )
