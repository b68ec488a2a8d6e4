"""Options of models, tasks and simulations as plain JSON, and back.

JSON has numbers, strings, lists and dictionaries with string keys. What else
an option may be is written as a dictionary with one tag:

| value | JSON |
|---|---|
| a tuple | `{"tuple": [...]}` |
| inf, -inf, nan | `{"float": "inf"}` |
| a dtype | `{"dtype": "bfloat16"}` |
| a dataclass or Flax module | `{"class": "Stft", "options": {...}}` |
| a function | `{"function": "jaxsep.losses.neg_si_snr"}` |
| `functools.partial` | `{"partial": ..., "args": [...], "options": {...}}` |
| a dictionary with other keys, or with a tag as key | `{"dict": [[k, v]]}` |
"""

import dataclasses
import functools
import math
import sys
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["decode", "encode", "names_in"]

_TAGS = {"class", "dict", "dtype", "float", "function", "partial", "tuple"}
_DTYPES = {
  jnp.dtype(value).name: value
  for value in vars(jnp).values()
  if isinstance(value, type(jnp.float32))
}
# Public modules of functions that are defined in private ones.
_JAX_MODULES = {"jax.nn": jax.nn, "jax.numpy": jnp}


def encode(value: Any) -> Any:
  """Writes a value so that JSON can hold it.

  Args:
    value: None, a number, a string, a dtype, a function that can be imported
      by its name, a `functools.partial` of one, a dataclass or Flax module
      (without its `parent` and `name`), or lists, tuples and dictionaries of
      these. A default of a dataclass that cannot be written is left out.

  Returns:
    The JSON value; `decode` gives an equal value back.

  Raises:
    ValueError: If something in it, such as a lambda, has no lasting name or is
      of another type. One line names the option.

  Example:
    >>> encode({"type": jnp.float32, "sizes": (1, None)})
    {'type': {'dtype': 'float32'}, 'sizes': {'tuple': [1, None]}}
  """
  return _encode(value, "", {})


def names_in(value: Any) -> dict[str, Any]:
  """The classes and functions in a value, by the names that `encode` writes.

  Args:
    value: As in `encode`.

  Returns:
    What `decode` needs as `classes` to read this value.

  Raises:
    ValueError: As `encode`, or if two classes have the same name.
  """
  names: dict[str, Any] = {}
  _encode(value, "", names)
  return names


def decode(value: Any, classes: Mapping[str, Any]) -> Any:
  """Reads what `encode` wrote; nothing is imported or executed.

  Args:
    value: The JSON value.
    classes: Classes by their names. Functions are looked up here too, by
      their full names, unless they are part of `jax.nn` or `jax.numpy` or are
      the default of their option.

  Returns:
    The value.

  Raises:
    ValueError: If a name is unknown, a class does not take the options, or
      the JSON value was not written by `encode`.

  Example:
    >>> decode({"tuple": [1, {"dtype": "bfloat16"}]}, {})[1] is jnp.bfloat16
    True
  """
  if isinstance(value, list):
    return [decode(item, classes) for item in value]
  if not isinstance(value, dict):
    return value
  tags = _TAGS & value.keys()
  if not tags:
    return {key: decode(item, classes) for key, item in value.items()}
  try:
    return _decode_tag(tags.pop(), value, classes)
  except (KeyError, TypeError, AttributeError) as error:
    raise ValueError(f"{value!r:.200} cannot be read: {error}") from error


def _encode(value, where, names):
  """As `encode`; `where` is the option, and `names` collects what is named."""
  if value is None or type(value) in (bool, int, str):
    return value
  if isinstance(value, jnp.dtype | type(jnp.float32)) or (
    isinstance(value, type) and issubclass(value, np.generic)
  ):
    return {"dtype": jnp.dtype(value).name}
  if isinstance(value, np.generic):
    return _encode(value.item(), where, names)
  if type(value) is float:
    return value if math.isfinite(value) else {"float": repr(value)}
  if type(value) in (list, tuple):
    values: Any = value
    items = [_encode(item, f"{where}[]", names) for item in values]
    return items if type(value) is list else {"tuple": items}
  if type(value) is dict:
    pairs = [
      [_encode(key, where, names), _encode(item, f"{where}[{key!r}]", names)]
      for key, item in value.items()
    ]
    if all(isinstance(key, str) and key not in _TAGS for key in value):
      return dict(pairs)
    return {"dict": pairs}
  if isinstance(value, functools.partial):
    options = {
      name: _encode(item, f"{where}.{name}", names)
      for name, item in value.keywords.items()
    }
    return {
      "partial": _encode(value.func, where, names),
      "args": _encode(list(value.args), where, names),
      "options": options,
    }
  if dataclasses.is_dataclass(value) and not isinstance(value, type):
    return _encode_instance(value, where, names)
  problem = f"a {type(value).__name__} cannot be written as JSON"
  if callable(value) and hasattr(value, "__qualname__"):
    if name := _public_name(value):
      names[name] = value
      return {"function": name}
    problem = (
      f"{value.__qualname__} has no lasting name: define it at the top of a"
      " module"
    )
  raise ValueError(f"{where or 'the value'}: {problem}")


def _encode_instance(value, where, names):
  """A dataclass or Flax module."""
  kind = type(value)
  if names.setdefault(kind.__name__, kind) is not kind:
    raise ValueError(f"{where}: two classes are called {kind.__name__}")
  where, options = where or kind.__name__, {}
  # Flax gives each module a parent and a name.
  given = ("parent", "name") if hasattr(value, "parent") else ()
  for field in dataclasses.fields(value):
    if not field.init or field.name in given:
      continue
    option = getattr(value, field.name)
    try:
      options[field.name] = _encode(option, f"{where}.{field.name}", names)
    except ValueError:
      if option is not field.default:
        raise
  return {"class": kind.__name__, "options": options}


def _public_name(function):
  """A full name under which it can be imported, or None."""
  parts = function.__module__.split(".")
  private = [part.startswith("_") and part != "__main__" for part in parts]
  length = private.index(True) if True in private else len(parts)
  for module in (".".join(parts[:length]), *_JAX_MODULES):
    found = sys.modules.get(module)
    for part in function.__qualname__.split("."):
      found = getattr(found, part, None)
    if found is function:
      return f"{module}.{function.__qualname__}"
  return None


def _decode_tag(tag, value, classes):
  content = value[tag]
  if tag == "tuple":
    return tuple(decode(item, classes) for item in content)
  if tag == "dict":
    return {decode(k, classes): decode(v, classes) for k, v in content}
  if tag == "float":
    return float(content)
  if tag == "dtype":
    return _DTYPES[content]
  if tag == "partial":
    options = {k: decode(v, classes) for k, v in value["options"].items()}
    args = decode(value["args"], classes)
    return functools.partial(decode(content, classes), *args, **options)
  if tag == "function":
    module, _, name = content.rpartition(".")
    if content not in classes and module in _JAX_MODULES:
      return getattr(_JAX_MODULES[module], name)
  if content not in classes:
    raise ValueError(f"the {tag} {content!r} is unknown here")
  if tag == "function":
    return classes[content]
  # Functions that are the default of their option need not be given.
  named: dict[str, Any] = {
    field.name: {_public_name(field.default): field.default}
    for field in dataclasses.fields(classes[content])
    if hasattr(field.default, "__qualname__")
  }
  options = {
    name: decode(option, {**classes, **named.get(name, {})})
    for name, option in value["options"].items()
  }
  return classes[content](**options)
