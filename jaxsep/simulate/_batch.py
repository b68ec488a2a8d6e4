"""Batches of ingredients to batches of mixtures."""

from collections.abc import Callable

import jax

from jaxsep.typing import Array, Key

# What `Simulation` mixes; the batch has the mixture in their place.
_INGREDIENTS = ("sources", "length", "noise", "rir", "noise_rir")


def simulate_batch(
  simulation: Callable[[Key, dict], dict],
  batch: dict[str, Array],
  *,
  keys: Key,
) -> dict[str, Array]:
  """Mixes a batch; each example depends on its own key alone.

  Args:
    simulation: A `Simulation`, or a function that is called like one.
    batch: Arrays with a leading batch axis: "sources" `[B, S, T]`, "length"
      `[B, S]` and, if wanted, "noise" and "rir". The simulation is given all
      but "index" and "mask", so that one of your own may mix others.
    keys: One key per example, `[B]`: such as the index of the example folded
      into a root key, so that the batch layout changes no mixture.

  Returns:
    The batch with "mixture" `[B, T]`, "reference" `[B, S, T]`, "length" `[B]`
    and what else the simulation returns in place of "sources", "length",
    "noise", "rir" and "noise_rir"; all other arrays as they were.

  Example:
    >>> from jaxsep.simulate import Simulation
    >>> import jax.numpy as jnp
    >>> batch = {"sources": jnp.ones((3, 2, 8)), "length": jnp.full((3, 2), 8)}
    >>> keys = jax.random.split(jax.random.key(0), 3)
    >>> mixed = simulate_batch(Simulation(8000), batch, keys=keys)
    >>> print(mixed["mixture"].shape, mixed["reference"].shape)
    (3, 8) (3, 2, 8)
  """
  ingredients = {
    name: value
    for name, value in batch.items()
    if name not in ("index", "mask")
  }
  rest = {name: batch[name] for name in batch if name not in _INGREDIENTS}
  return {**rest, **jax.vmap(simulation)(keys, ingredients)}
