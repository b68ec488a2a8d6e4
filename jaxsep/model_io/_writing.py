"""Writes model folders."""

import contextlib
import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from etils import epath

from jaxsep import __version__, json_values
from jaxsep.model_io._format import (
  CONFIG,
  FORMAT,
  FORMAT_VERSION,
  PARAMS,
  LoadedModel,
  ModelFolderError,
  as_path,
  checked_rate,
  flatten,
  mismatch,
  one_line,
  shapes_of,
  some,
)
from jaxsep.model_io._reading import read_checked, read_config
from jaxsep.typing import PyTree


def save(
  folder: str | os.PathLike,
  model: nn.Module,
  variables: PyTree,
  *,
  sample_rate_hz: int,
  task: str = "separation",
  metadata: Mapping[str, Any] | None = None,
  parts: Mapping[str, LoadedModel | str | os.PathLike] | None = None,
  files: Mapping[str, str | os.PathLike] | None = None,
  dtype: str | None = None,
  overwrite: bool = False,
) -> None:
  """Writes a model folder.

  A local folder is written as a whole or, if that fails, not at all. A folder
  in a bucket is complete when it has its `config.json`, which is written last.

  Args:
    folder: Where to; may be in a bucket (`gs://...`). Parents are made.
    model: A module of `jaxsep.models`, or of your own class, which has to be
      passed to `load`.
    variables: All its collections, as `init` returns them. The collection
      `loss_params`, which belongs to a loss, is not written.
    sample_rate_hz: Sample rate of the signals it was trained on.
    task: What it does.
    metadata: Anything that JSON can hold: training data, scores, licence.
    parts: Models that belong to this one, by name: loaded models, or paths of
      model folders. They become sub-folders.
    files: Files that belong to this model, by their names in the folder.
    dtype: `"bfloat16"` stores float32 weights in half the space; `load` makes
      them float32 again. None stores them as they are.
    overwrite: Whether to replace a model folder. A folder with other files in
      it is never replaced.

  Raises:
    ModelFolderError: If the folder is taken or cannot be written.
    ValueError: If the model, its variables or the metadata cannot be saved.

  Example:
    >>> import tempfile
    >>> from jaxsep import load, models
    >>> model = models.Encoder(num_filters=4, filter_length=16)
    >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 16)))
    >>> with tempfile.TemporaryDirectory() as home:
    ...   save(f"{home}/model", model, variables, sample_rate_hz=8000)
    ...   load(f"{home}/model").sample_rate_hz
    8000
  """
  content = _content(
    LoadedModel(model, variables, sample_rate_hz, task, dict(metadata or {})),
    parts or {},
    files or {},
    dtype,
  )
  folder = as_path(folder)
  write = _write_remote if "://" in str(folder) else _write_local
  try:
    _check_free(folder, overwrite)
    write(folder, content)
  except OSError as error:
    message = f"cannot write {folder}: {one_line(error)}"
    raise ModelFolderError(message) from error


def check_savable(model: nn.Module, variables: PyTree) -> None:
  """Checks that a model can be saved and read again; writes nothing.

  Args:
    model: The module.
    variables: All its collections, or their `jax.ShapeDtypeStruct`s.

  Raises:
    ValueError: If an option has no lasting name or does not come back equal,
      or an array has a type that cannot be stored, or another shape than in
      the model (if it has `example_inputs`).

  Example:
    >>> model = nn.Dense(2, kernel_init=lambda key, shape, dtype: 0.0)
    >>> check_savable(model, {})
    Traceback (most recent call last):
    ...
    ValueError: Dense.kernel_init: <lambda> has no lasting name: ...
  """
  encoded = json_values.encode(model)
  names = json_values.names_in(model)
  if json_values.decode(json.loads(json.dumps(encoded)), names) != model:
    raise ValueError(
      f"{type(model).__name__} cannot be saved: its options do not come back"
      " as they are."
    )
  if problem := mismatch(shapes_of(model), flatten(variables)):
    raise ValueError(f"the variables do not fit the model: {problem}.")


def _content(saved, parts, files, dtype):
  """Paths within the folder and the bytes there; `config.json` comes last."""
  check_savable(saved.model, saved.variables)
  if dtype not in (None, "bfloat16"):
    raise ValueError(f'dtype must be None or "bfloat16", not {dtype!r}.')
  _check_names([*parts, *files])
  arrays, widened = _pack(saved.variables, dtype)
  content = {PARAMS: arrays}
  content |= {name: as_path(path).read_bytes() for name, path in files.items()}
  config = {
    "format": FORMAT,
    "format_version": FORMAT_VERSION,
    "jaxsep_version": __version__,
    "model": json_values.encode(saved.model),
    "sample_rate_hz": checked_rate(saved.sample_rate_hz),
    "task": saved.task,
    "metadata": saved.metadata,
    "params_sha256": hashlib.sha256(arrays).hexdigest(),
    "widened": widened,
    "parts": list(parts),
    "files": {
      name: hashlib.sha256(content[name]).hexdigest() for name in files
    },
  }
  for name, part in parts.items():
    if isinstance(part, LoadedModel):
      inside = _content(part, part.parts, part.files, dtype)
    else:
      inside = _copy(as_path(part))
    content |= _inside(name, inside)
  try:
    text = json.dumps(config, indent=2, allow_nan=False) + "\n"
  except (TypeError, ValueError) as error:
    raise ValueError(
      f"the metadata cannot be written as JSON: {error}."
    ) from None
  return content | {CONFIG: text.encode()}


def _copy(folder):
  """What a model folder holds, as it is."""
  config = read_config(folder)
  sums = {PARAMS: config["params_sha256"], **config["files"]}
  content = {name: read_checked(folder / name, sums[name]) for name in sums}
  for name in config["parts"]:
    content |= _inside(name, _copy(folder / name))
  return content | {CONFIG: (folder / CONFIG).read_bytes()}


def _inside(name, content):
  """The content of a sub-folder."""
  return {f"{name}/{path}": value for path, value in content.items()}


def _check_names(names):
  """Refuses names of parts and files that are taken, or are paths."""
  for name in names:
    if name in (CONFIG, PARAMS) or names.count(name) > 1:
      raise ValueError(f"the name {name} is taken: choose another.")
    if name != pathlib.PurePath(name).name or name.startswith("."):
      raise ValueError(f"{name!r} must be a plain name, not a path.")


def _pack(variables, dtype):
  """A safetensors file, and the names of what `load` has to widen."""
  flat, widened = {}, []
  for name, value in flatten(variables).items():
    value = np.asarray(jax.device_get(value))
    if dtype and value.dtype == np.float32:
      value = value.astype(jnp.bfloat16)
      widened.append(name)
    # Safetensors writes the buffer as it lies: it has to be contiguous.
    flat[name] = np.array(value, order="C")
  return safetensors.numpy.save(flat), widened


def _check_free(folder, overwrite):
  """Refuses to write over anything but an empty or, if allowed, our folder."""
  if not folder.exists():
    return
  if not folder.is_dir():
    raise ModelFolderError(f"{folder} is a file: choose another folder.")
  entries = {entry.name for entry in folder.iterdir()}
  ours = {CONFIG, PARAMS}
  # If config.json is unreadable, only it and params.safetensors are ours.
  with contextlib.suppress(ModelFolderError):
    config = read_config(folder)
    ours |= {*config["parts"], *config["files"]}
  if others := entries - ours:
    raise ModelFolderError(
      f"{folder} holds other files ({some(others)}): choose another folder."
    )
  if entries and not overwrite:
    raise ModelFolderError(
      f"{folder} holds a model already: choose another folder or pass "
      "overwrite=True."
    )


def _write_remote(folder: epath.Path, content: Mapping[str, bytes]) -> None:
  """Writes to a bucket, where a folder cannot be renamed as a whole."""
  if folder.exists():
    (folder / CONFIG).unlink(missing_ok=True)
    folder.rmtree()
  for name, value in content.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(value)


def _write_local(folder: epath.Path, content: Mapping[str, bytes]) -> None:
  """Writes a folder beside its place, then moves it there."""
  place = pathlib.Path(folder).absolute()
  place.parent.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(
    prefix=f".{place.name}-", dir=place.parent, ignore_cleanup_errors=True
  ) as temporary:
    new, old = pathlib.Path(temporary, "new"), pathlib.Path(temporary, "old")
    for name, value in content.items():
      (new / name).parent.mkdir(parents=True, exist_ok=True)
      with open(new / name, "wb") as file:
        file.write(value)
        file.flush()
        os.fsync(file.fileno())
    if place.exists():
      os.rename(place, old)
    try:
      os.rename(new, place)
    except OSError:
      if old.exists():
        os.rename(old, place)
      raise
