"""What a model folder holds, and what reading and writing share."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

# For buckets, without loading TensorFlow where it is installed.
os.environ.setdefault("EPATH_USE_TF", "0")

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from jaxsep.typing import PyTree

FORMAT, RUN_FORMAT = "jaxsep model", "jaxsep run"
FORMAT_VERSION = 2
CONFIG, PARAMS = "config.json", "params.safetensors"
#: Stored types by the names that safetensors gives them.
DTYPES = {
  **{f"F{bits}": jnp.dtype(f"float{bits}") for bits in (32, 16)},
  **{f"I{bits}": jnp.dtype(f"int{bits}") for bits in (8, 16, 32)},
  **{f"U{bits}": jnp.dtype(f"uint{bits}") for bits in (8, 32)},
  "BF16": jnp.dtype(jnp.bfloat16),
  "BOOL": jnp.dtype("bool"),
}


class ModelFolderError(ValueError):
  """A model folder cannot be read or written; one line says why."""


@dataclasses.dataclass(frozen=True)
class LoadedModel:
  """What `load` returns.

  Attributes:
    model: The module, ready for `model.apply(variables, mixture)`.
    variables: All its collections, such as `{"params": ...}`.
    sample_rate_hz: Sample rate of the signals it was trained on.
    task: What it does, such as `"separation"`.
    metadata: Whatever was saved along with it.
    parts: Models that belong to it, by name; those of a folder are read when
      they are first asked for.
    files: Paths of the files that belong to it, by name.
    folder: Where it was read from.
  """

  model: nn.Module
  variables: PyTree
  sample_rate_hz: int
  task: str = "separation"
  metadata: dict[str, Any] = dataclasses.field(default_factory=dict)
  parts: Mapping[str, "LoadedModel"] = dataclasses.field(default_factory=dict)
  files: dict[str, pathlib.PurePath] = dataclasses.field(default_factory=dict)
  folder: pathlib.PurePath | None = None


def as_path(path: str | os.PathLike) -> epath.Path:
  """A local path, or one in a bucket; one line if that cannot be opened."""
  try:
    found = epath.Path(path)
    found.exists()
  except (ImportError, KeyError, OSError, RuntimeError, ValueError) as error:
    raise ModelFolderError(f"cannot open {path}: {one_line(error)}") from error
  return found


def one_line(error: Exception) -> str:
  """What went wrong, on one line."""
  return " ".join(str(getattr(error, "strerror", None) or error).split())


def flatten(variables: PyTree) -> dict[str, Any]:
  """Leaves by dotted name, without the collection `loss_params`."""
  if not isinstance(variables, Mapping) or not all(
    isinstance(collection, Mapping) for collection in variables.values()
  ):
    raise ValueError(
      "variables must be collections of arrays, {'params': ...}, as init"
      " returns them."
    )
  kept = {k: v for k, v in variables.items() if k != "loss_params"}
  flat = flax.traverse_util.flatten_dict(kept)
  for path in flat:
    if any("." in part for part in path):
      raise ValueError(f"the name {'/'.join(path)} must not contain a dot.")
  return {".".join(path): value for path, value in sorted(flat.items())}


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]] | None:
  """Shapes of a model's variables by dotted name; None if it cannot tell."""
  if not hasattr(model, "example_inputs"):
    return None
  inputs = model.example_inputs()
  variables = jax.eval_shape(lambda: model.init(jax.random.key(0), **inputs))
  return {name: value.shape for name, value in flatten(variables).items()}


def mismatch(
  expected: Mapping[str, tuple[int, ...]] | None, flat: Mapping[str, Any]
) -> str | None:
  """What keeps variables from being those of a model, or None."""
  known = DTYPES.values()
  for name, value in flat.items():
    if value.dtype not in known:
      return f"{name} is {value.dtype}, not one of {', '.join(map(str, known))}"
  if expected is None:
    return None
  for what, names in (
    ("missing", expected.keys() - flat.keys()),
    ("unknown to the model", flat.keys() - expected.keys()),
  ):
    if names:
      return f"{some(names)} {'is' if len(names) == 1 else 'are'} {what}"
  for name, value in flat.items():
    if np.shape(value) != expected[name]:
      return (
        f"{name} has shape {value.shape}, but the model needs {expected[name]}"
      )
  return None


def some(names) -> str:
  """The first three of some names."""
  names = sorted(names)
  more = f" and {len(names) - 3} more" if len(names) > 3 else ""
  return ", ".join(names[:3]) + more


def checked_rate(rate: Any) -> int:
  """The sample rate, if it is one."""
  if isinstance(rate, bool) or not isinstance(rate, int) or rate <= 0:
    raise ValueError(
      f"sample_rate_hz must be a positive integer, not {rate!r}."
    )
  return rate
