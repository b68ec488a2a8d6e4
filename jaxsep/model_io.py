"""A model on disk: a folder with `config.json` and `params.safetensors`.

The configuration is plain JSON and the parameters are plain arrays under
dotted names: nothing in a folder is ever executed.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from jaxsep import __version__, models
from jaxsep.typing import PyTree

__all__ = ["LoadedModel", "ModelFolderError", "load", "save"]

_FORMAT = "jaxsep model"
_FORMAT_VERSION = 1
_CONFIG, _PARAMS = "config.json", "params.safetensors"
_MODELS = {
  "ConvTasNet": models.ConvTasNet,
  "DPTNet": models.DPTNet,
  "SpectrogramTasNet": models.SpectrogramTasNet,
}
_STORED_DTYPES = {"F32": jnp.float32, "BF16": jnp.bfloat16, "F16": jnp.float16}
_DTYPES = ("float32", "bfloat16", "float16")


class ModelFolderError(ValueError):
  """A model folder that cannot be read or written; says why in one line."""


@dataclasses.dataclass(frozen=True)
class LoadedModel:
  """What `load` returns.

  Attributes:
    model: The module, ready for `model.apply({"params": params}, mixture)`.
    params: Its parameters.
    sample_rate_hz: Sample rate of the signals it was trained on.
    task: What it does, such as `"separation"`.
    metadata: Whatever was saved along with it.
  """

  model: nn.Module
  params: PyTree
  sample_rate_hz: int
  task: str
  metadata: dict[str, Any]


def save(
  folder: str | os.PathLike,
  model: nn.Module,
  params: PyTree,
  *,
  sample_rate_hz: int,
  task: str = "separation",
  metadata: Mapping[str, Any] | None = None,
  overwrite: bool = False,
) -> None:
  """Writes a model folder: all of it or, if that fails, nothing.

  Args:
    folder: Where to; parent folders are made.
    model: A module of `jaxsep.models`.
    params: Its parameters, as `init` returns them under `"params"`.
    sample_rate_hz: Sample rate of the signals it was trained on.
    task: What it does.
    metadata: Anything that JSON can hold: training data, scores, licence.
    overwrite: Whether a model folder that is there may be replaced. Any other
      folder that is not empty never is.

  Raises:
    ModelFolderError: If the folder is taken or cannot be written.
    ValueError: If the model, parameters or metadata cannot be saved.

  Example:
    >>> import tempfile
    >>> model = models.ConvTasNet(num_blocks=1, num_repeats=1)
    >>> params = model.init(jax.random.key(0), jnp.zeros((1, 16)))["params"]
    >>> with tempfile.TemporaryDirectory() as home:
    ...   save(f"{home}/model", model, params, sample_rate_hz=8000)
    ...   load(f"{home}/model").sample_rate_hz
    8000
  """
  folder = pathlib.Path(folder).absolute()
  name = _model_name(model)
  flat = _flatten(params)
  problem = _mismatch(_shapes(model), flat)
  if problem:
    raise ValueError(f"the parameters do not fit the model: {problem}.")
  content = safetensors.numpy.save(flat)
  config = {
    "format": _FORMAT,
    "format_version": _FORMAT_VERSION,
    "jaxsep_version": __version__,
    "model": name,
    "options": _options(model),
    "sample_rate_hz": _checked_rate(sample_rate_hz),
    "task": task,
    "metadata": dict(metadata or {}),
    "params_sha256": hashlib.sha256(content).hexdigest(),
  }
  try:
    text = json.dumps(config, indent=2, allow_nan=False) + "\n"
  except (TypeError, ValueError) as error:
    raise ValueError(
      f"the metadata cannot be written as JSON: {error}."
    ) from None
  _check_free(folder, overwrite)
  try:
    _write(folder, {_CONFIG: text.encode(), _PARAMS: content})
  except OSError as error:
    raise ModelFolderError(
      f"cannot write the model folder {folder}: {error.strerror or error}."
    ) from error


def load(folder: str | os.PathLike) -> LoadedModel:
  """Reads a model folder written by `save`.

  Args:
    folder: The folder.

  Returns:
    The model, its parameters as they were saved, bit for bit, and what was
    saved with them.

  Raises:
    ModelFolderError: If the folder is missing, damaged, of another program or
      of a newer jaxsep.
  """
  folder = pathlib.Path(folder)
  config = _read_config(folder)
  model, shapes = _build(folder, config)
  flat = _read_params(folder, config)
  problem = _mismatch(shapes, flat)
  if problem:
    raise ModelFolderError(
      f"{folder / _PARAMS} does not fit {folder / _CONFIG}: {problem}."
    )
  flat = {name: jnp.asarray(value) for name, value in flat.items()}
  return LoadedModel(
    model=model,
    params=flax.traverse_util.unflatten_dict(flat, sep="."),
    sample_rate_hz=config["sample_rate_hz"],
    task=config["task"],
    metadata=config["metadata"],
  )


def _model_name(model):
  for name, model_class in _MODELS.items():
    if type(model) is model_class:
      return name
  known = ", ".join(_MODELS)
  raise ValueError(
    f"{type(model).__name__} cannot be saved: choose one of {known}."
  )


def _options(model):
  """The hyper-parameters of a module as JSON values."""
  values = {name: getattr(model, name) for name in _defaults(type(model))}
  if "dtype" in values:
    values["dtype"] = jnp.dtype(values["dtype"]).name
  return values


def _defaults(model_class):
  """Names and default values of the hyper-parameters of a module class."""
  return {
    field.name: field.default
    for field in dataclasses.fields(model_class)
    if field.name not in ("parent", "name")
  }


def _flatten(params):
  """Parameters by dotted name, as NumPy arrays."""
  if not isinstance(params, Mapping):
    raise ValueError("params must be a nested dictionary of arrays.")
  if set(params) == {"params"}:
    raise ValueError("pass variables['params'], not all the variables.")
  flat = flax.traverse_util.flatten_dict(dict(params), sep=".")
  # Safetensors writes the buffer as it lies: it has to be contiguous.
  return {
    name: np.array(jax.device_get(value), order="C")
    for name, value in sorted(flat.items())
  }


def _shapes(model):
  """Shapes of a model's parameters by dotted name."""
  signal = jax.ShapeDtypeStruct((1, 1), jnp.float32)
  params = jax.eval_shape(model.init, jax.random.key(0), signal)["params"]
  flat: dict[str, Any] = flax.traverse_util.flatten_dict(params, sep=".")
  return {name: value.shape for name, value in flat.items()}


def _mismatch(expected, flat):
  """What keeps parameters from fitting the shapes of a model, or `None`."""
  for what, names in (
    ("missing", expected.keys() - flat.keys()),
    ("unknown to the model", flat.keys() - expected.keys()),
  ):
    if names:
      return f"{_some(names)} {'is' if len(names) == 1 else 'are'} {what}"
  for name, value in flat.items():
    if value.shape != expected[name]:
      return (
        f"{name} has shape {value.shape}, but the model needs {expected[name]}"
      )
    if value.dtype.name not in _DTYPES:
      return f"{name} is {value.dtype.name}, not one of {', '.join(_DTYPES)}"
  return None


def _some(names):
  names = sorted(names)
  more = f" and {len(names) - 3} more" if len(names) > 3 else ""
  return ", ".join(names[:3]) + more


def _checked_rate(rate):
  if isinstance(rate, bool) or not isinstance(rate, int) or rate <= 0:
    raise ValueError(
      f"sample_rate_hz must be a positive integer, not {rate!r}."
    )
  return rate


def _check_free(folder, overwrite):
  """Refuses to write over anything but an empty or, if allowed, our folder."""
  if not os.path.lexists(folder):
    return
  if not folder.is_dir():
    raise ModelFolderError(f"{folder} is a file: choose another folder.")
  entries = {entry.name for entry in folder.iterdir()}
  if not entries:
    return
  if others := entries - {_CONFIG, _PARAMS}:
    raise ModelFolderError(
      f"{folder} holds other files ({_some(others)}): choose another folder."
    )
  if not overwrite:
    raise ModelFolderError(
      f"{folder} holds a model already: choose another folder or pass "
      "overwrite=True."
    )


def _write(folder, files):
  """Writes a folder beside its place, then moves it there."""
  folder.parent.mkdir(parents=True, exist_ok=True)
  temporary = pathlib.Path(
    tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent)
  )
  try:
    new, old = temporary / "new", temporary / "old"
    new.mkdir()
    for name, content in files.items():
      with open(new / name, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if folder.exists():
      os.rename(folder, old)
    try:
      os.rename(new, folder)
    except OSError:
      if old.exists():
        os.rename(old, folder)
      raise
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def _read_config(folder):
  if not folder.exists():
    raise ModelFolderError(f"there is no model folder {folder}.")
  if not folder.is_dir():
    raise ModelFolderError(f"{folder} is a file, not a model folder.")
  path = folder / _CONFIG
  if not path.is_file():
    raise ModelFolderError(f"{folder} is no model folder: it has no {_CONFIG}.")
  try:
    config = json.loads(path.read_text(encoding="utf-8"))
  except OSError as error:
    raise ModelFolderError(f"cannot read {path}: {error.strerror}.") from error
  except ValueError as error:
    raise ModelFolderError(f"{path} is damaged: {error}.") from error
  if not isinstance(config, dict) or config.get("format") != _FORMAT:
    raise ModelFolderError(f"{path} was not written by jaxsep.")
  version = config.get("format_version")
  if isinstance(version, int) and version > _FORMAT_VERSION:
    raise ModelFolderError(
      f"{folder} was written by a newer jaxsep "
      f"({config.get('jaxsep_version')}): update jaxsep to read it."
    )
  fields = {
    "format_version": int,
    "model": str,
    "options": dict,
    "sample_rate_hz": int,
    "task": str,
    "metadata": dict,
    "params_sha256": str,
  }
  for name, kind in fields.items():
    if not isinstance(config.get(name), kind):
      raise ModelFolderError(
        f"{path} is damaged: {name!r} is {config.get(name)!r}."
      )
  return config


def _build(folder, config):
  """The module that a configuration describes, and its shapes."""
  path, name = folder / _CONFIG, config["model"]
  if name not in _MODELS:
    known = ", ".join(_MODELS)
    raise ModelFolderError(
      f"{path} names the model {name!r}; this jaxsep knows {known}."
    )
  defaults = _defaults(_MODELS[name])
  options = dict(config["options"])
  if unknown := options.keys() - defaults.keys():
    raise ModelFolderError(f"{path}: {name} has no option {_some(unknown)}.")
  for option, value in options.items():
    if not _is_like(value, defaults[option], is_dtype=option == "dtype"):
      raise ModelFolderError(f"{path}: {option} cannot be {value!r}.")
  if "dtype" in options:
    options["dtype"] = getattr(jnp, options["dtype"])
  model = _MODELS[name](**options)
  try:
    _checked_rate(config["sample_rate_hz"])
    return model, _shapes(model)
  except ValueError as error:
    raise ModelFolderError(f"{path}: {error}") from error


def _is_like(value, default, *, is_dtype):
  """Whether an option from a file is of the kind of the default."""
  if is_dtype:
    return value in _DTYPES
  if isinstance(default, bool):
    return isinstance(value, bool)
  if isinstance(default, int):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
  if isinstance(default, float):
    return isinstance(value, int | float) and not isinstance(value, bool)
  return value is None or isinstance(value, str)


def _read_params(folder, config):
  path = folder / _PARAMS
  try:
    content = path.read_bytes()
  except FileNotFoundError:
    raise ModelFolderError(f"{folder} has no {_PARAMS}.") from None
  except OSError as error:
    raise ModelFolderError(f"cannot read {path}: {error.strerror}.") from error
  if hashlib.sha256(content).hexdigest() != config["params_sha256"]:
    raise ModelFolderError(
      f"{path} is damaged or not the file that {_CONFIG} was written with."
    )
  try:
    tensors = safetensors.deserialize(content)
  except safetensors.SafetensorError as error:
    raise ModelFolderError(f"{path} is damaged: {error}.") from error
  flat = {}
  for name, tensor in tensors:
    if tensor["dtype"] not in _STORED_DTYPES:
      raise ModelFolderError(f"{path}: {name} is stored as {tensor['dtype']}.")
    values = np.frombuffer(tensor["data"], _STORED_DTYPES[tensor["dtype"]])
    flat[name] = values.reshape(tensor["shape"])
  return flat
