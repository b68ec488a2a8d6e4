"""Batches of ingredients to mixtures: in training, and as files to keep."""

from collections.abc import Callable, Iterable, Iterator

import jax
import numpy as np

from jaxsep.typing import Key

_INGREDIENTS = ("sources", "length", "noise", "rir")


def simulate_batch(
  simulate: Callable[[Key, dict], dict], batch: dict, *, key: Key
) -> dict:
  """Mixes a batch; example i depends on the key and its index alone.

  Args:
    simulate: What `make_simulator` returns.
    batch: Arrays with a leading batch axis: "sources" `[B, S, T]`, "length"
      `[B, S]`, "index" `[B]` and, if wanted, "noise" and "rir"; others, such as
      "mask", are handed on.
    key: Root key; the index of the example is folded into it.

  Returns:
    The batch with "mixture" `[B, T]`, "reference" `[B, S, T]` and "length"
    `[B]` in place of its ingredients, and the other parts of the mixtures.

  Example:
    >>> from jaxsep.simulate import make_simulator
    >>> batch = {
    ...     "sources": np.ones((3, 2, 8), np.float32),
    ...     "length": np.full((3, 2), 8),
    ...     "index": np.arange(3),
    ... }
    >>> mixed = simulate_batch(make_simulator(), batch, key=jax.random.key(0))
    >>> print(mixed["mixture"].shape, mixed["reference"].shape)
    (3, 8) (3, 2, 8)
  """
  keys = jax.vmap(lambda index: jax.random.fold_in(key, index))(batch["index"])
  ingredients = {name: batch[name] for name in _INGREDIENTS if name in batch}
  rest = {name: batch[name] for name in batch if name not in _INGREDIENTS}
  return {**rest, **jax.vmap(simulate)(keys, ingredients)}


def fixed_examples(
  simulate: Callable[[Key, dict], dict], batches: Iterable[dict], *, key: Key
) -> Iterator[dict[str, np.ndarray]]:
  """Mixtures of a fixed evaluation set, one by one, to be written or scored.

  The same key and indices give the same examples, whatever the batch size.

  Args:
    simulate: What `make_simulator` returns.
    batches: Batches as for `simulate_batch`; rows whose "mask" is False are
      padding and are left out.
    key: Root key of the set.

  Yields:
    NumPy dicts with "mixture" `[T]`, "reference" `[S, T]`, "index" and what
    else the batch held of this example; the signals end at "length".

  Example:
    >>> from jaxsep.simulate import make_simulator
    >>> batch = {
    ...     "sources": np.ones((1, 2, 8), np.float32),
    ...     "length": np.array([[5, 8]]),
    ...     "index": np.array([7]),
    ... }
    >>> key = jax.random.key(0)
    >>> for example in fixed_examples(make_simulator(), [batch], key=key):
    ...   print(example["mixture"].shape, example["index"])
    (5,) 7
  """
  mix = jax.jit(lambda batch: simulate_batch(simulate, batch, key=key))
  for batch in batches:
    mixed = jax.device_get(mix(batch))
    size = len(mixed["index"])
    for row in np.flatnonzero(mixed.get("mask", np.ones(size, bool))):
      example = {name: value[row] for name, value in mixed.items()}
      for name in {"mixture", "reference", "noise", "late"} & example.keys():
        example[name] = example[name][..., : example["length"]]
      yield example
