"""Batches of ingredients to mixtures: in training, and as files to keep."""

from collections.abc import Callable, Iterable, Iterator

import jax
import numpy as np

from jaxsep.typing import Array, Key

# What `Simulation` mixes; the batch has the mixture in their place.
_INGREDIENTS = ("sources", "length", "noise", "rir")


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
    "noise" and "rir"; all other arrays as they were.

  Example:
    >>> from jaxsep.simulate import Simulation
    >>> batch = {
    ...   "sources": np.ones((3, 2, 8), np.float32),
    ...   "length": np.full((3, 2), 8),
    ... }
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


def fixed_examples(
  simulation: Callable[[Key, dict], dict],
  batches: Iterable[dict],
  *,
  key: Key,
) -> Iterator[dict[str, np.ndarray]]:
  """Mixtures of a fixed evaluation set, one by one, to be written or scored.

  The same key and indices give the same examples, whatever the batch size.

  Args:
    simulation: As for `simulate_batch`.
    batches: Batches as for `simulate_batch`, with the "index" `[B]` of each
      example; rows whose "mask" is False are padding and are left out.
    key: Root key of the set; the index of each example is folded into it.

  Yields:
    NumPy dicts with "mixture" `[T]`, "reference" `[S, T]`, "index" and what
    else the batch held of this example; the signals end at "length".

  Example:
    >>> from jaxsep.simulate import Simulation
    >>> batch = {
    ...   "sources": np.ones((1, 2, 8), np.float32),
    ...   "length": np.array([[5, 8]]),
    ...   "index": np.array([7]),
    ... }
    >>> key = jax.random.key(0)
    >>> for example in fixed_examples(Simulation(8000), [batch], key=key):
    ...   print(example["mixture"].shape, example["index"])
    (5,) 7
  """
  fold = jax.vmap(jax.random.fold_in, (None, 0))

  @jax.jit
  def mix(batch):
    return simulate_batch(simulation, batch, keys=fold(key, batch["index"]))

  for batch in batches:
    mixed = jax.device_get(mix(batch))
    size = len(mixed["index"])
    for row in np.flatnonzero(mixed.get("mask", np.ones(size, bool))):
      example = {name: value[row] for name, value in mixed.items()}
      for name in {"mixture", "reference", "noise", "late"} & example.keys():
        example[name] = example[name][..., : example["length"]]
      yield example
