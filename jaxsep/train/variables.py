"""Variables that a run starts from or is given: merged, hashed, kept."""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxsep.train.errors import TrainingError


def merge(variables: Any, init_from: Any) -> tuple[Any, list[str]]:
  """Puts given arrays into a first tree of variables.

  A collection may be given in part, such as `{"params": {"encoder": ...}}`.
  Below a part that is there nothing may be missing: where a subtree names all
  the children that the variables have, all below has to be complete, and a
  subtree of which an array is given is given whole.
  """
  taken: list[str] = []
  merged = dict(variables)
  for name, tree in init_from.items():
    if name not in variables:
      raise _refused(f"the model has no collection {name}")
    merged[name] = _merged(variables[name], tree, name, False, taken)
  return merged, taken


def tree_hash(tree: Any) -> str:
  """A hash of names, shapes, types and values of a tree of arrays."""
  digest = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    leaf = np.asarray(leaf)
    name = jax.tree_util.keystr(path)
    digest.update(f"{name} {leaf.dtype} {leaf.shape}".encode())
    digest.update(np.ascontiguousarray(leaf).tobytes())
  return digest.hexdigest()


def _merged(old, new, path, strict, taken):
  """One subtree or array of `merge`."""
  if not isinstance(old, Mapping) or not isinstance(new, Mapping):
    if isinstance(old, Mapping) or isinstance(new, Mapping):
      raise _refused(f"{path} is an array in one and a subtree in the other")
    return _array(old, new, path, taken)
  if unknown := sorted(new.keys() - old.keys()):
    raise _refused(f"the model has no {path}/{unknown[0]}")
  if old and not jax.tree.leaves(new):
    raise _refused(f"{path} gives no array")
  missing = sorted(old.keys() - new.keys())
  has_parts = all(isinstance(old[name], Mapping) for name in new)
  if missing and (strict or not has_parts):
    raise _refused(f"{path}/{missing[0]} is missing from it")
  merged = dict(old)
  for name in new:
    merged[name] = _merged(
      old[name], new[name], f"{path}/{name}", not missing, taken
    )
  return merged


def _array(old, new, path, taken):
  """A given array, in the type of the one that it replaces."""
  kinds = [jnp.issubdtype(x.dtype, jnp.floating) for x in (old, new)]
  if old.shape != new.shape or kinds[0] != kinds[1]:
    raise _refused(
      f"{path} is {new.dtype}{list(new.shape)}, not "
      f"{old.dtype}{list(old.shape)}"
    )
  taken.append(path)
  return jnp.asarray(new, old.dtype)


def _refused(reason):
  return TrainingError(
    f"init_from does not fit the model: {reason}; give the whole tree, or "
    "whole parts of it"
  )
