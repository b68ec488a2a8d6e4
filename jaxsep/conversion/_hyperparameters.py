"""SpeechBrain's hyperparams.yaml as plain data: no object is built."""

import pathlib
from collections.abc import Mapping
from typing import Any

from jaxsep.conversion._architecture import ConversionError

_LOBES = "speechbrain.lobes.models."
_CLASSES = {
  "encoder": _LOBES + "dual_path.Encoder",
  "masknet": _LOBES + "conv_tasnet.MaskNet",
  "decoder": _LOBES + "dual_path.Decoder",
}
_CLASS = "!new"
_REFERENCE = "!ref"


def read_hyperparameters(path: pathlib.Path) -> dict[str, Any]:
  """The arguments of a ConvTasNet in a file of SpeechBrain.

  Those of its `MaskNet`, `kernel_size` and `stride` of its encoder and decoder,
  and `sample_rate`, as far as the file has them.
  """
  document = _parse(path)
  nodes = {
    part: _node(document, part, kind, path) for part, kind in _CLASSES.items()
  }
  arguments = {
    name: value
    for name, value in nodes["masknet"].items()
    if name not in (_CLASS, "input_shape")
  }
  for name, node in (("kernel_size", "encoder"), ("stride", "decoder")):
    if name in nodes[node]:
      arguments[name] = nodes[node][name]
  if "sample_rate" in document:
    arguments["sample_rate"] = document["sample_rate"]
  return {
    name: _resolved(value, document, path) for name, value in arguments.items()
  }


def _parse(path):
  try:
    import yaml
  except ImportError as error:
    raise ConversionError(
      f"reading {path} takes PyYAML: pip install 'jaxsep[convert]'."
    ) from error

  class Loader(yaml.SafeLoader):
    """Keeps the tags of SpeechBrain as text."""

  def keep(loader, tag, node):
    if isinstance(node, yaml.MappingNode):
      return {**loader.construct_mapping(node, deep=True), _CLASS: tag}
    if isinstance(node, yaml.SequenceNode):
      return loader.construct_sequence(node, deep=True)
    # `!new:class` without arguments, or `!ref <name>`.
    text = str(loader.construct_scalar(node))
    return {_CLASS: tag} if tag.startswith("new:") else {_REFERENCE: text}

  Loader.add_multi_constructor("!", keep)
  try:
    document = yaml.load(path.read_text(encoding="utf-8"), Loader)
  except (yaml.YAMLError, ValueError, RecursionError) as error:
    raise ConversionError(f"{path} is no YAML.") from error
  if not isinstance(document, Mapping):
    raise ConversionError(f"{path} holds no hyper-parameters.")
  return document


def _node(document, part, kind, path):
  """The description of one of the three modules."""
  modules = document.get("modules")
  node = modules.get(part) if isinstance(modules, Mapping) else None
  node = _resolved(node, document, path)
  if node is None:
    found = [
      value
      for value in document.values()
      if isinstance(value, Mapping) and value.get(_CLASS) == f"new:{kind}"
    ]
    node = found[0] if found else None
  if not isinstance(node, Mapping) or not isinstance(node.get(_CLASS), str):
    raise ConversionError(f"{path} describes no {part}.")
  name = node[_CLASS].removeprefix("new:")
  if name != kind:
    raise ConversionError(
      f"SpeechBrain's {name.removeprefix(_LOBES)} has no counterpart here: only"
      f" {kind.removeprefix(_LOBES)}."
    )
  return node


def _resolved(value, document, path):
  """The value that a `!ref <name>` stands for."""
  for _ in range(10):
    if not isinstance(value, Mapping) or _REFERENCE not in value:
      return value
    text = value[_REFERENCE].strip()
    name = text[1:-1]
    if not (text.startswith("<") and text.endswith(">")) or "<" in name:
      raise ConversionError(f"{path}: {text} is not worked out; write a value.")
    if name not in document:
      raise ConversionError(f"{path}: {text} refers to nothing.")
    value = document[name]
  raise ConversionError(f"{path}: {value[_REFERENCE]} refers to itself.")
