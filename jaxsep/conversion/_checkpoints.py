"""Checkpoint files of the peers, read without running anything in them."""

import dataclasses
import os
import pathlib
import pickle
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from jaxsep.conversion._architecture import ConversionError
from jaxsep.conversion._hyperparameters import (
  read_hyperparameters,
  read_language_model,
  read_recognizer,
)

_SPEECHBRAIN_PARTS = ("encoder", "masknet", "decoder")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
  """What a checkpoint holds, by the names of the peer.

  With `complete`, arguments that it does not tell have the peer's default.
  What belongs to it, other models and files, goes by our names.
  """

  weights: dict[str, np.ndarray]
  arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
  model_name: str | None = None
  complete: bool = False
  parts: dict[str, "Checkpoint"] = dataclasses.field(default_factory=dict)
  files: dict[str, pathlib.Path] = dataclasses.field(default_factory=dict)


def read_checkpoint(path: str | os.PathLike) -> Checkpoint:
  """Reads a file of Asteroid or Lightning, or a folder of SpeechBrain."""
  path = pathlib.Path(path)
  try:
    if path.is_dir():
      return _read_folder(path)
    return _parse(_read_file(path), path)
  except OSError as error:
    reason = error.strerror or error
    raise ConversionError(f"cannot read {path}: {reason}.") from error


def _read_folder(folder):
  for name in ("asr.ckpt", "model.ckpt"):
    if (folder / name).exists():
      return _read_recognizer(folder, folder / name)
  files = {part: folder / f"{part}.ckpt" for part in _SPEECHBRAIN_PARTS}
  missing = [file.name for file in files.values() if not file.exists()]
  if len(missing) == len(files):
    raise ConversionError(
      f"{folder} is a folder without masknet.ckpt: give a checkpoint file, or "
      "the folder of a SpeechBrain model."
    )
  if missing:
    raise ConversionError(f"{folder} has no {', '.join(missing)}.")
  weights = {}
  for part, path in files.items():
    content = _unwrapped(_weights(_read_file(path), path), ("module.",))
    weights |= {f"{part}.{name}": value for name, value in content.items()}
  # In training, SpeechBrain keeps checkpoints two folders below.
  if folder.name.startswith("CKPT+"):
    folder = folder.absolute().parent.parent
  path = folder / "hyperparams.yaml"
  if not path.is_file():
    return Checkpoint(weights)
  return Checkpoint(
    weights, read_hyperparameters(path), "ConvTasNet", complete=True
  )


def _read_recognizer(folder, path):
  """A recogniser and what lies beside it; `path` is that of its weights."""
  # In training, the other files lie one folder above, the description two.
  training = folder.name.startswith("CKPT+")
  home = folder.absolute().parent if training else folder
  described = (home.parent if training else home) / "hyperparams.yaml"
  files = {
    "hyperparams.yaml": described,
    "normalizer.ckpt": folder / "normalizer.ckpt",
    "tokenizer.ckpt": home / "tokenizer.ckpt",
  }
  if missing := [name for name, file in files.items() if not file.is_file()]:
    raise ConversionError(
      f"{folder} has no {', '.join(missing)}, which a recogniser needs beside"
      f" its {path.name}."
    )
  arguments, members = read_recognizer(described)
  weights = {}
  for name, value in _state(path).items():
    index, _, rest = name.partition(".")
    known = index.isdigit() and int(index) < len(members)
    weights[f"{members[int(index)]}.{rest}" if known else name] = value
  statistics = _state(files["normalizer.ckpt"])
  for name in ("glob_mean", "glob_std"):
    if name in statistics:
      weights[f"normalize.{name}"] = statistics[name]
  parts = {}
  if (home / "lm.ckpt").is_file():
    parts["language_model"] = Checkpoint(
      _state(home / "lm.ckpt"),
      read_language_model(described),
      "TransformerLM",
      complete=True,
    )
  return Checkpoint(
    weights,
    arguments,
    "TransformerASR",
    complete=True,
    parts=parts,
    files={"tokenizer": files["tokenizer.ckpt"]},
  )


def _state(path):
  """The weights in a file of SpeechBrain."""
  return _unwrapped(_weights(_read_file(path), path), ("module.",))


def _read_file(path):
  """What a file holds, tensors as arrays."""
  if not path.exists():
    raise ConversionError(f"there is no {path}.")
  with open(path, "rb") as file:
    start = file.read(9)
  if not start:
    raise ConversionError(f"{path} is empty.")
  # Checked first: the length before the bracket may start as PyTorch's files.
  if start[8:] == b"{":
    return _read_safetensors(path)
  if start[:2] == b"PK" or start[:1] == b"\x80":
    return _read_torch(path)
  raise ConversionError(f"{path} is neither a PyTorch nor a safetensors file.")


def _read_safetensors(path):
  try:
    return safetensors.numpy.load(path.read_bytes())
  except KeyError as error:
    raise ConversionError(
      f"{path} holds numbers of type {error.args[0]}, which are not read: save "
      "them as float32."
    ) from error
  except safetensors.SafetensorError as error:
    raise ConversionError(f"{path} is damaged: {error}.") from error


def _read_torch(path):
  try:
    import torch
    from torch.torch_version import TorchVersion
  except ImportError as error:
    raise ConversionError(
      f"reading {path} takes PyTorch: pip install 'jaxsep[convert]', or bring "
      "the weights as safetensors."
    ) from error
  # Asteroid stores PyTorch's version, which is an object of this class.
  known = torch.serialization.safe_globals([TorchVersion])
  try:
    with warnings.catch_warnings(action="ignore"), known:
      content = torch.load(path, map_location="cpu", weights_only=True)
  except pickle.UnpicklingError as error:
    raise ConversionError(
      f"{path} is damaged or holds objects other than tensors"
      f"{_unsafe_names(path, torch)}, which may run code when opened: save its "
      "state_dict alone."
    ) from error
  except Exception as error:  # Damage shows in many ways, an OSError too.
    raise ConversionError(
      f"{path} is damaged or no checkpoint of PyTorch."
    ) from error
  return _arrays(content, torch)


def _unsafe_names(path, torch):
  """The classes of the objects that opening a file would build."""
  try:
    names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
  except Exception:  # Of files in the old format, and of damaged ones.
    names = []
  return f" ({', '.join(sorted(names)[:3])})" if names else ""


def _arrays(content, torch):
  """The content with arrays instead of tensors."""
  if isinstance(content, torch.Tensor):
    content = content.detach()
    if content.layout != torch.strided or content.is_quantized:
      raise ConversionError("sparse and quantized weights are not converted.")
    if content.is_floating_point():
      content = content.float()
    return content.numpy()
  if isinstance(content, Mapping):
    return {name: _arrays(value, torch) for name, value in content.items()}
  return content


def _parse(content, path):
  """The checkpoint in what a file holds."""
  weights = _unwrapped(_weights(content, path), ("module.", "model."))
  if "model_args" in content:
    name = content.get("model_name")
    return Checkpoint(
      weights,
      _dictionary(content["model_args"], path),
      None if name is None else str(name),
      complete=True,
    )
  if "hyper_parameters" in content:
    options = _dictionary(content["hyper_parameters"], path)
    arguments = _arguments_of_recipe(options)
    return Checkpoint(weights, arguments, complete=bool(arguments))
  return Checkpoint(weights)


def _weights(content, path):
  """The arrays of a state dictionary, or of the one in a dictionary."""
  if isinstance(content, Mapping) and "state_dict" in content:
    content = content["state_dict"]
  if not isinstance(content, Mapping):
    raise ConversionError(f"{path} holds no state_dict.")
  weights = {
    str(name): value
    for name, value in content.items()
    if isinstance(value, np.ndarray)
  }
  if not weights:
    raise ConversionError(f"{path} holds no weights.")
  return weights


def _dictionary(value, path):
  if not isinstance(value, Mapping):
    raise ConversionError(f"{path} is damaged: its arguments are {value!r}.")
  return {str(name): option for name, option in value.items()}


def _unwrapped(weights, boxes):
  """The weights without the names of modules around the model."""
  for box in boxes:
    if any(name.startswith(f"{box}encoder.") for name in weights) or all(
      name.startswith(box) for name in weights
    ):
      # Lightning's module holds the loss beside the model.
      weights = {
        name.removeprefix(box): value
        for name, value in weights.items()
        if not name.startswith("loss_func.")
      }
  return dict(weights)


def _arguments_of_recipe(options):
  """The model's arguments among the flat options of an Asteroid recipe."""
  arguments = {}
  for name, value in options.items():
    group, _, argument = name.partition("_")
    if group in ("filterbank", "masknet"):
      value = value.tolist() if isinstance(value, np.ndarray) else value
      arguments[argument] = None if value == "None" else value
  if arguments and "data_sample_rate" in options:
    arguments.setdefault("sample_rate", options["data_sample_rate"])
  return arguments
