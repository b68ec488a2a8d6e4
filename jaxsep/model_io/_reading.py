"""Reads model folders."""

import functools
import hashlib
import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.traverse_util
import jax.numpy as jnp
import numpy as np
import safetensors
from etils import epath

from jaxsep import json_values, models
from jaxsep.model_io._format import (
  CONFIG,
  DTYPES,
  FORMAT,
  FORMAT_VERSION,
  PARAMS,
  RUN_FORMAT,
  LoadedModel,
  ModelFolderError,
  as_path,
  checked_rate,
  mismatch,
  one_line,
  shapes_of,
)

_PRETRAINED = epath.Path(__file__).parent.parent / "pretrained"
_FIELDS = {
  "model": dict,
  "sample_rate_hz": int,
  "task": str,
  "metadata": dict,
  "params_sha256": str,
  "widened": list,
  "parts": list,
  "files": dict,
}


def load(
  where: str | os.PathLike,
  *,
  model_class: Callable | Sequence[Callable] | None = None,
) -> LoadedModel:
  """Reads a model folder written by `save`.

  Args:
    where: A model folder; the folder of a run, for its best model or else its
      last one; or the name of a model that ships with jaxsep. Folders may be
      in a bucket (`gs://...`).
    model_class: Your own class, or a list of all classes (and functions among
      their options) that the model may be made of beside jaxsep's own; they
      are looked up by name, and may be more than are needed.

  Returns:
    The model, its variables bit for bit, and what was saved with them.

  Raises:
    ModelFolderError: If the folder is missing or damaged, was not written by
      this version of jaxsep, or names an unknown class.

  Example:
    >>> import tempfile
    >>> import flax.linen, jax
    >>> from jaxsep.model_io import save
    >>> model = flax.linen.Dense(2)
    >>> variables = model.init(jax.random.key(0), jnp.zeros((1, 3)))
    >>> with tempfile.TemporaryDirectory() as home:
    ...   save(f"{home}/m", model, variables, sample_rate_hz=8000)
    ...   load(f"{home}/m", model_class=flax.linen.Dense).model == model
    True
  """
  # All that jaxsep's own models can be made of.
  classes = {name: getattr(models, name) for name in models.__all__}
  given = [model_class] if callable(model_class) else model_class
  for value in given or ():
    if inspect.isclass(value):
      classes[value.__name__] = value
    else:
      classes |= json_values.names_in(value)
  return _load(_find(where), classes)


def pretrained() -> dict[str, dict[str, Any]]:
  """The models that ship with jaxsep.

  Returns:
    By the name that `load` takes: the model's `folder`, its `sample_rate_hz`,
    and its card, which holds a `summary`, `num_sources`, whether it is
    `causal`, its `license`, and `scores` by what was measured. The file
    `README.md` in the folder says more.

  Example:
    >>> pretrained()["two_speakers_8k"]["sample_rate_hz"]
    8000
  """
  cards = {}
  for path in sorted(_PRETRAINED.glob(f"*/{CONFIG}")):
    config = read_config(path.parent)
    cards[path.parent.name] = {
      "folder": path.parent,
      "sample_rate_hz": config["sample_rate_hz"],
      **config["metadata"]["card"],
    }
  return cards


def read_config(folder: epath.Path) -> dict[str, Any]:
  """The checked `config.json` of a model folder."""
  path = folder / CONFIG
  config = _read_json(folder)
  if config.get("format") != FORMAT:
    raise ModelFolderError(f"{path} was not written by jaxsep.")
  version = config.get("format_version")
  if version != FORMAT_VERSION:
    raise ModelFolderError(
      f"{folder} has the format version {version}, and this jaxsep reads"
      f" {FORMAT_VERSION}; it was written by jaxsep"
      f" {config.get('jaxsep_version')}."
    )
  for name, kind in _FIELDS.items():
    if not isinstance(config.get(name), kind):
      raise ModelFolderError(
        f"{path} is damaged: {name!r} is {config.get(name)!r}."
      )
  return config


def read_checked(path: epath.Path, sha256: str) -> bytes:
  """The content of a file, if it is the one that was saved."""
  content = _read(path)
  if hashlib.sha256(content).hexdigest() != sha256:
    raise ModelFolderError(
      f"{path} is damaged or not the file that {CONFIG} was written with."
    )
  return content


def _find(where):
  """The model folder that is meant."""
  folder = as_path(where)
  shipped = _PRETRAINED / folder.name
  if not folder.exists() and str(where) == folder.name and shipped.exists():
    return shipped
  if not folder.exists():
    raise ModelFolderError(
      f"there is no model folder {folder}; models that ship:"
      f" {', '.join(pretrained())}."
    )
  if not folder.is_dir():
    raise ModelFolderError(f"{folder} is a file, not a model folder.")
  if _read_json(folder).get("format") != RUN_FORMAT:
    return folder
  for name in ("best", "last"):
    if (folder / name / CONFIG).exists():
      return folder / name
  raise ModelFolderError(f"the run {folder} has saved no model yet.")


def _read_json(folder):
  content = _read(folder / CONFIG)
  try:
    config = json.loads(content)
  except ValueError as error:
    raise ModelFolderError(f"{folder / CONFIG} is damaged: {error}.") from error
  return config if isinstance(config, dict) else {}


def _read(path):
  try:
    return path.read_bytes()
  except FileNotFoundError:
    raise ModelFolderError(
      f"{path.parent} is not a model folder: it has no {path.name}."
    ) from None
  except OSError as error:
    raise ModelFolderError(f"cannot read {path}: {one_line(error)}") from error


def _load(folder, classes):
  config = read_config(folder)
  model, shapes = _build(folder, config, classes)
  flat = _read_variables(folder, config)
  if problem := mismatch(shapes, flat):
    raise ModelFolderError(
      f"{folder / PARAMS} does not fit {folder / CONFIG}: {problem}."
    )
  for name, sha256 in config["files"].items():
    read_checked(folder / name, sha256)
  flat = {name: jnp.asarray(value) for name, value in flat.items()}
  return LoadedModel(
    model=model,
    variables=flax.traverse_util.unflatten_dict(flat, sep="."),
    sample_rate_hz=config["sample_rate_hz"],
    task=config["task"],
    metadata=config["metadata"],
    parts=_Parts(folder, config["parts"], classes),
    files={name: folder / name for name in config["files"]},
    folder=folder,
  )


class _Parts(Mapping[str, LoadedModel]):
  """The models in sub-folders, each of which is read when it is needed."""

  def __init__(self, folder, names, classes):
    self._names = names
    self._read = functools.cache(lambda name: _load(folder / name, classes))

  def __getitem__(self, name):
    if name not in self._names:
      raise KeyError(name)
    return self._read(name)

  def __iter__(self):
    return iter(self._names)

  def __len__(self):
    return len(self._names)


def _build(folder, config, classes):
  """The module that a configuration describes, and its shapes."""
  path = folder / CONFIG
  named = _class_names(config["model"]) or {"None"}
  if unknown := sorted(named - classes.keys()):
    names = ", ".join(unknown)
    raise ModelFolderError(
      f"{path} names the class {names}, which is not jaxsep's: load it in"
      f" Python with model_class=[{names}]."
    )
  try:
    model = json_values.decode(config["model"], classes)
    checked_rate(config["sample_rate_hz"])
    return model, shapes_of(model)
  except Exception as error:  # A class may raise any for invalid options.
    raise ModelFolderError(f"{path}: {one_line(error)}") from error


def _class_names(value):
  """The classes that an encoded value is made of."""
  if not isinstance(value, list | dict):
    return set()
  items = value.values() if isinstance(value, dict) else value
  names = set().union(*map(_class_names, items))
  if isinstance(value, dict) and "class" in value:
    names.add(str(value["class"]))
  return names


def _read_variables(folder, config):
  path = folder / PARAMS
  content = read_checked(path, config["params_sha256"])
  try:
    tensors = safetensors.deserialize(content)
  except safetensors.SafetensorError as error:
    raise ModelFolderError(f"{path} is damaged: {error}.") from error
  flat = {}
  for name, tensor in tensors:
    if tensor["dtype"] not in DTYPES:
      raise ModelFolderError(f"{path}: {name} is stored as {tensor['dtype']}.")
    values = np.frombuffer(tensor["data"], DTYPES[tensor["dtype"]])
    if name in config["widened"]:
      values = values.astype(np.float32)
    flat[name] = values.reshape(tensor["shape"])
  return flat
