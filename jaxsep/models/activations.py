"""Activations by name, so that a model's options are plain JSON."""

from collections.abc import Callable

import jax

from jaxsep.models._options import check_choice

_ACTIVATIONS = {
  None: lambda x: x,
  "relu": jax.nn.relu,
  "sigmoid": jax.nn.sigmoid,
  "tanh": jax.numpy.tanh,
}


def get_activation(
  name: str | None, *, masks: bool = False
) -> Callable[[jax.Array], jax.Array]:
  """The activation of a name.

  Args:
    name: `"relu"`, `"sigmoid"`, `"tanh"` or `None` for the identity.
    masks: Whether it is for masks `[..., S, N, F]`, which may also have
      `"softmax"`, over the sources.

  Returns:
    The function.

  Raises:
    ValueError: If the name is unknown.

  Example:
    >>> float(get_activation("relu")(-1.0))
    0.0
  """
  if masks and name == "softmax":
    return lambda values: jax.nn.softmax(values, axis=-3)
  check_choice("activation", name, _ACTIVATIONS)
  return _ACTIVATIONS[name]
