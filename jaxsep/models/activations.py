"""Activations by name, so that a model's options are plain JSON."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from jaxsep.models._options import check_choice

_ACTIVATIONS = {
  None: lambda x: x,
  "gelu": functools.partial(jax.nn.gelu, approximate=False),
  "relu": jax.nn.relu,
  "sigmoid": jax.nn.sigmoid,
  "swish": jax.nn.swish,
  "tanh": jax.numpy.tanh,
}


def get_activation(
  name: str | None, *, masks: bool = False
) -> Callable[[Any], jax.Array]:
  """The activation of a name; masks `[..., S, N, F]` may have `"softmax"`."""
  if masks and name == "softmax":
    return lambda values: jax.nn.softmax(values, axis=-3)
  check_choice("activation", name, _ACTIVATIONS)
  return _ACTIVATIONS[name]
