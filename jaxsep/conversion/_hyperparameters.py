"""SpeechBrain's hyperparams.yaml as plain data: no object is built."""

import ast
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
_CNN = _LOBES + "convolution.ConvolutionFrontEnd"
_TRANSFORMER = _LOBES + "transformer.TransformerASR.TransformerASR"
_TRANSFORMER_LM = _LOBES + "transformer.TransformerLM.TransformerLM"
_FEATURES = "speechbrain.lobes.features.Fbank"
_NORMALIZATION = "speechbrain.processing.features.InputNormalization"
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
    if name != "input_shape"
  }
  for name, node in (("kernel_size", "encoder"), ("stride", "decoder")):
    if name in nodes[node]:
      arguments[name] = nodes[node][name]
  if "sample_rate" in document:
    arguments["sample_rate"] = document["sample_rate"]
  return _values(arguments, document, path)


def read_recognizer(path: pathlib.Path) -> tuple[dict[str, Any], list[str]]:
  """The arguments of a Conformer recogniser, and names of its modules.

  The arguments are those of its `TransformerASR`, `Fbank` and
  `InputNormalization`, and those of its `ConvolutionFrontEnd` as `cnn_...`.
  The modules are those of the checkpoint, in its order.
  """
  document = _parse(path)
  cnn = _values(_node(document, "CNN", _CNN, path), document, path)
  arguments = {f"cnn_{name}": value for name, value in cnn.items()}
  for part, kind in (
    ("compute_features", _FEATURES),
    ("normalize", _NORMALIZATION),
    ("Transformer", _TRANSFORMER),
  ):
    arguments |= _values(_node(document, part, kind, path), document, path)
  tokens = ("blank_index", "bos_index", "eos_index")
  named = {name: document[name] for name in tokens if name in document}
  arguments |= _values(named, document, path)
  return arguments, _members(document, path)


def read_language_model(path: pathlib.Path) -> dict[str, Any]:
  """The arguments of the `TransformerLM` beside a recogniser."""
  document = _parse(path)
  node = _node(document, "lm_model", _TRANSFORMER_LM, path)
  return _values(node, document, path)


def _members(document, path):
  """Names of the modules in the list that a recogniser's checkpoint is of.

  The front end and the Transformer are known by their classes, the others go
  by their names in the file.
  """
  known = {f"new:{_CNN}": "CNN", f"new:{_TRANSFORMER}": "Transformer"}
  for key in ("asr_model", "model"):
    # The arguments of `torch.nn.ModuleList`: one list.
    match document.get(key):
      case [[*modules]]:
        names = []
        for module in modules:
          node = _resolved(module, document, path)
          kind = node.get(_CLASS, "") if isinstance(node, Mapping) else ""
          names.append(known.get(kind) or _referred(module))
        return names
  raise ConversionError(f"{path} does not list the modules of its asr_model.")


def _referred(value):
  """The name in `!ref <name>`; empty for other values."""
  if not isinstance(value, Mapping):
    return ""
  return value.get(_REFERENCE, "").strip().strip("<>")


def _values(node, document, path):
  """The arguments of a class, each worked out."""
  values = {}
  for name, value in node.items():
    if name == _CLASS:
      continue
    value = _resolved(value, document, path)
    if isinstance(value, Mapping) and value.keys() == {_CLASS}:
      # A class, such as an activation: its bare name.
      value = value[_CLASS].rpartition(".")[2]
    elif isinstance(value, str) and value.startswith("("):
      value = _tuple(value, path)
    values[name] = value
  return values


def _tuple(text, path):
  """SpeechBrain's notation for a tuple of numbers or words."""
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError) as error:
    raise ConversionError(f"{path}: {text} is no tuple.") from error


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
    # A class without arguments, or `!ref <name>`.
    text = str(loader.construct_scalar(node))
    named = tag.startswith(("new:", "name:"))
    return {_CLASS: tag} if named else {_REFERENCE: text}

  Loader.add_multi_constructor("!", keep)
  try:
    document = yaml.load(path.read_text(encoding="utf-8"), Loader)
  except (yaml.YAMLError, ValueError, RecursionError) as error:
    raise ConversionError(f"{path} is no YAML.") from error
  if not isinstance(document, Mapping):
    raise ConversionError(f"{path} holds no hyper-parameters.")
  return document


def _node(document, part, kind, path):
  """The description of a module: by its name, or else by its class."""
  modules = document.get("modules")
  node = modules.get(part) if isinstance(modules, Mapping) else None
  node = document.get(part) if node is None else node
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
