"""Configs made from class instances, flags that change them, and back.

`options` turns an instance into a config with one entry for every field of its
class, nested values included; `build` makes the instance again. So every option
of a class is in the config, and no list of options is kept beside the class.
Config files choose the class; flags set fields.
"""

import ast
import collections.abc
import contextlib
import dataclasses
import functools
import inspect
import json
import pathlib
import re
import runpy
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from ml_collections import config_dict

from jaxsep import losses, models, simulate, train

#: Classes and functions that a config can name, see `register`.
_KNOWN: dict[str, Callable] = {}


def register(*values: Callable) -> None:
  """Makes classes or functions of a paper known to `build` by their names."""
  _KNOWN.update({value.__name__: value for value in values})


def known_classes() -> list[type]:
  """The classes that a model may be made of, for `jaxsep.load`."""
  return [value for value in _KNOWN.values() if isinstance(value, type)]


def options(value: Any, *, without: Iterable[str] = ()) -> Any:
  """The options that describe a value, each one a field that can be changed.

  Of a frozen dataclass or Flax module all fields but those in `without`, which
  `build` is given; of a function, or a `functools.partial` of one, the keyword
  arguments that have defaults. In the `ConfigDict`, the name of the class or
  function is under `class` or `function`, and dtypes are names.
  """
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    found = {"class": type(value).__name__} | {
      field.name: options(getattr(value, field.name))
      for field in _fields(type(value))
      if field.name not in without
    }
  elif isinstance(value, functools.partial):
    return _config(options(value.func).to_dict() | value.keywords)
  elif _is_dtype(value):
    return jnp.dtype(value).name
  elif callable(value):
    found = {"function": value.__name__} | {
      name: options(parameter.default)
      for name, parameter in _parameters(value).items()
    }
  elif isinstance(value, tuple | list):
    return tuple(options(item) for item in value)
  else:
    return value
  return _config(found)


def make_config(**parts: Any) -> Any:
  """A config of a job; it refuses keys it does not have.

  For a training job, parts are at least `sample_rate_hz`, `model`, `data`,
  `optimizer` and `train`. `init_from` has the runs or model folders whose
  variables to start from, by the part of the model that they are for:
  `{"": RUN, "masker/norm": "FOLDER:inner/norm"}`; `RUN:encoder` is a part of
  what a folder holds, which goes to its own place without another name. A
  single one may be given as it is. `frozen` has, by name, the folders of models
  that are used in training but not trained.
  """
  return _config({"init_from": {}, "frozen": {}} | parts)


def build(config: Any, *, where: str = "config", **fixed: Any) -> Any:
  """Makes the value of a config; `fixed` are the fields that it leaves out."""
  if isinstance(config, tuple | list):
    each = enumerate(config)
    return tuple(build(part, where=f"{where}[{i}]") for i, part in each)
  if not isinstance(config, config_dict.ConfigDict | Mapping):
    return config
  entries = dict(config.items())
  kind = "function" if "function" in entries else "class"
  name = entries.pop(kind, None)
  if name not in _KNOWN:
    raise ValueError(
      f"{where}.{kind} is {name!r}; known are {', '.join(sorted(_KNOWN))}"
    )
  made = _KNOWN[name]
  types_ = _types(made)
  if unknown := sorted(set(entries) - set(types_)):
    raise ValueError(_no_such_key(where, unknown[0], types_))
  values = {
    key: _typed(
      [build(value, where=f"{where}.{key}")], types_[key], f"{where}.{key}"
    )
    for key, value in entries.items()
  }
  if kind == "class":
    try:
      return made(**values, **fixed)
    except ValueError as error:
      raise ValueError(f"{where}: {error}") from error
  changed = {
    key: value
    for key, value in values.items()
    if value != _parameters(made)[key].default
  }
  return functools.partial(made, **changed) if changed else made


def override(config: Any, words: Iterable[str]) -> None:
  """Sets options of a config in place, as flags do.

  Words are such as `--config.optimizer.clip_norm=None` or
  `--config.simulation.snr_db=(0,5)`. A nested value that is None becomes one
  of its class once a field of it is set; a function is replaced by naming
  another. New keys go into `frozen` and `init_from` only.
  """
  for word in words:
    name, equals, text = word.partition("=")
    *path, key = name.removeprefix("--").split(".")[1:] or [""]
    if not equals:
      raise ValueError(f"{name} is given no value; write {name}=VALUE")
    node, where = config, "config"
    for step in path:
      node, where = _child(node, step, where), f"{where}.{step}"
    if not isinstance(node, config_dict.ConfigDict):
      raise ValueError(f"{where} is {node!r}; it has no {key}")
    _set(node, key, text, where)


def load(path: str) -> Any:
  """Reads a config file, the `config.json` of a run, or a printed config."""
  if not pathlib.Path(path).is_file():
    raise ValueError(f"there is no config {path}")
  if not path.endswith(".json"):
    try:
      names = runpy.run_path(path)
    except SyntaxError as error:
      raise ValueError(f"{path} is no config file: {error}") from error
    if "get_config" not in names:
      raise ValueError(f"{path} has no function get_config")
    return names["get_config"]()
  try:
    found = json.loads(pathlib.Path(path).read_text())
    return make_config(**(found["run"]["config"] if "run" in found else found))
  except (ValueError, KeyError, TypeError) as error:
    raise ValueError(
      f"{path} is no config: neither of a run nor printed by --print_config"
    ) from error


def to_json(config: Any) -> dict[str, Any]:
  """A config as JSON values; tuples become lists."""
  # ConfigDicts in tuples stay such.
  text = json.dumps(config.to_dict(), default=lambda part: part.to_dict())
  return json.loads(text)


def _config(entries):
  """A locked config whose values may have any type."""
  return config_dict.ConfigDict(entries, type_safe=False).lock()


def _fields(made):
  """The fields of a class that are options."""
  # Flax gives every module these two fields.
  others = ("parent", "name") if issubclass(made, nn.Module) else ()
  fields = dataclasses.fields(made)
  return [f for f in fields if f.init and f.name not in others]


def _parameters(function):
  """The keyword arguments of a function that have defaults."""
  return {
    name: parameter
    for name, parameter in inspect.signature(function).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
    and parameter.default is not parameter.empty
  }


def _types(made):
  """The type of every option, or the dtype it defaults to."""
  if isinstance(made, type):
    return {
      field.name: np.dtype if _is_dtype(field.default) else field.type
      for field in _fields(made)
    }
  return {name: p.annotation for name, p in _parameters(made).items()}


def _is_dtype(value):
  """Whether a value is a dtype or the type of its scalars."""
  is_scalar = isinstance(value, type) and hasattr(value, "dtype")
  return is_scalar or isinstance(value, np.dtype)


def _no_such_key(where, key, known):
  return f"{where} has no {key}; it has {', '.join(sorted(known))}"


def _typed(readings, wanted, name):
  """The first of some values that is of a type; ValueError if none is."""
  for value in readings:
    with contextlib.suppress(TypeError, ValueError):
      return _cast(value, wanted)
  shown = str(wanted) if typing.get_args(wanted) else wanted.__name__
  shown = re.sub(r"[A-Za-z_]\w*\.", "", shown)
  raise ValueError(f"{name} is {readings[0]!r}; it takes {shown}")


def _cast(value, wanted):
  """A value of the wanted type; TypeError or ValueError if it is none."""
  origin, args = typing.get_origin(wanted), typing.get_args(wanted)
  if origin in (typing.Union, types.UnionType):
    exact = [kind for kind in args if type(value) is kind]
    for kind in [*exact, *args]:
      with contextlib.suppress(TypeError, ValueError):
        return _cast(value, kind)
    raise TypeError(value)
  if origin is typing.Literal:
    return args[args.index(value)]
  if wanted is np.dtype:
    return jnp.dtype(value)
  if origin in (tuple, collections.abc.Sequence):
    if not isinstance(value, tuple | list):
      raise TypeError(value)
    is_pair = origin is tuple and args[-1] is not Ellipsis
    each = args if is_pair else args[:1] * len(value)
    return tuple(_cast(v, kind) for v, kind in zip(value, each, strict=True))
  if wanted is float and type(value) in (int, float):
    return float(value)
  kind: Any = wanted
  is_class = inspect.isclass(wanted) and wanted is not Any
  is_wrong = is_class and not isinstance(value, kind)
  if is_wrong or (wanted is int and isinstance(value, bool)):
    raise TypeError(value)
  return value


def _child(node, key, where):
  """A nested part of a config; made if it is None so far."""
  if not isinstance(node, config_dict.ConfigDict):
    raise ValueError(f"{where} is {node!r}; it has no {key}")
  if key not in node:
    raise ValueError(_no_such_key(where, key, node))
  if node[key] is None and "class" in node:
    for kind in typing.get_args(_types(_KNOWN[str(node["class"])])[key]):
      if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        defaults = {
          field.name: None
          if field.default is dataclasses.MISSING
          else options(field.default)
          for field in _fields(kind)
        }
        node[key] = _config({"class": kind.__name__} | defaults)
  return node[key]


def _set(node, key, text, where):
  """Sets one option of a part of a config."""
  name = f"{where}.{key}"
  if where in ("config.frozen", "config.init_from"):
    with node.unlocked():
      node[key] = text
    return
  if name == "config.init_from":
    node[key] = _config({} if text == "None" else {"": text})
    return
  known = [n for n in node if n not in ("class", "function")]
  if key not in known:
    raise ValueError(_no_such_key(where, key, known))
  now = node[key]
  if isinstance(now, config_dict.ConfigDict) and "function" in now:
    functions = [n for n, v in _KNOWN.items() if not isinstance(v, type)]
    if text not in functions:
      raise ValueError(
        f"{name} is {text!r}; it is one of {', '.join(sorted(functions))}"
      )
    node[key] = options(_KNOWN[text])
  elif isinstance(now, config_dict.ConfigDict) and text != "None":
    raise ValueError(
      f"{name} has options, such as --{name}.{list(now)[-1]}; which class it "
      "is, a config file says"
    )
  else:
    made = _KNOWN.get(node.get("class") or node.get("function"))
    # A top-level option that is None is a name.
    wanted = _types(made)[key] if made else type(now or "")
    node[key] = _typed(_readings(text), wanted, name)


def _readings(text):
  """What a word may stand for, the text itself last."""
  words = {"true": True, "false": False}
  values: list[Any] = [words[text.lower()]] if text.lower() in words else []
  for read in (ast.literal_eval, float):
    with contextlib.suppress(ValueError, SyntaxError):
      values.append(read(text))
  return [*values, text]


register(*(getattr(models, name) for name in models.__all__))
register(losses.neg_sdr, losses.neg_si_sdr, losses.neg_si_snr, losses.neg_snr)
register(losses.complex_l2, losses.feature_l2, losses.magnitude_l2)
register(simulate.Filter, simulate.Simulation, train.TrainConfig)
register(simulate.OverlapSimulation, simulate.RandomRoom, simulate.SpecAugment)
