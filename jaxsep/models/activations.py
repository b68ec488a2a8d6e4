"""Activations by name, so that a model's options are plain JSON."""

from collections.abc import Callable

import jax

_ACTIVATIONS = {
  None: lambda x: x,
  "relu": jax.nn.relu,
  "sigmoid": jax.nn.sigmoid,
  "tanh": jax.numpy.tanh,
}


def get_activation(name: str | None) -> Callable[[jax.Array], jax.Array]:
  """The activation of a name; `None` is the identity.

  Raises:
    ValueError: If the name is unknown.

  Example:
    >>> float(get_activation("relu")(-1.0))
    0.0
  """
  if name not in _ACTIVATIONS:
    known = ", ".join(repr(name) for name in _ACTIVATIONS)
    raise ValueError(f"unknown activation {name!r}: choose one of {known}.")
  return _ACTIVATIONS[name]


def get_mask_activation(name: str | None) -> Callable[[jax.Array], jax.Array]:
  """The activation of masks `[..., S, N, F]`: also `"softmax"`, over sources.

  Raises:
    ValueError: If the name is unknown.

  Example:
    >>> masks = get_mask_activation("softmax")(jax.numpy.zeros((2, 1, 1)))
    >>> masks.ravel().tolist()
    [0.5, 0.5]
  """
  if name == "softmax":
    return lambda masks: jax.nn.softmax(masks, axis=-3)
  return get_activation(name)
