"""Checkpoint files of the peers, read without running anything in them."""

import dataclasses
import os
import pathlib
import pickle
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from jaxsep.conversion._fitting import ConversionError
from jaxsep.conversion._hyperparameters import read_hyperparameters

SPEECHBRAIN_PARTS = ("encoder", "masknet", "decoder")
_HYPERPARAMETERS = "hyperparams.yaml"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
  """What a checkpoint holds.

  Attributes:
    weights: Arrays by the names of the peer.
    arguments: The model's arguments at the peer, as far as it tells them.
    model_name: The model's name at the peer, if it tells it.
    complete: Whether arguments that it does not tell have the peer's default.
  """

  weights: dict[str, np.ndarray]
  arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
  model_name: str | None = None
  complete: bool = False


def read_checkpoint(path: str | os.PathLike) -> Checkpoint:
  """Reads a file, or the folder of a SpeechBrain model.

  Files are those of `torch.save`, with a state dictionary alone, what
  Asteroid's `serialize` makes or a checkpoint of Lightning, and safetensors.

  Args:
    path: The file or folder.

  Returns:
    What it holds.

  Raises:
    ConversionError: If it cannot be read, or not without running code.
  """
  path = pathlib.Path(path)
  try:
    if path.is_dir():
      return _read_folder(path)
    return _parse(_read_file(path), path)
  except OSError as error:
    reason = error.strerror or error
    raise ConversionError(f"cannot read {path}: {reason}.") from error


def _read_folder(folder):
  there = [
    part for part in SPEECHBRAIN_PARTS if (folder / f"{part}.ckpt").exists()
  ]
  if not there:
    raise ConversionError(
      f"{folder} is a folder without masknet.ckpt: give a checkpoint file, or "
      "the folder of a SpeechBrain model."
    )
  missing = [f"{part}.ckpt" for part in SPEECHBRAIN_PARTS if part not in there]
  if missing:
    raise ConversionError(f"{folder} has no {', '.join(missing)}.")
  weights = {}
  for part in SPEECHBRAIN_PARTS:
    path = folder / f"{part}.ckpt"
    content = _unwrapped(_weights(_read_file(path), path), ("module.",))
    weights |= {f"{part}.{name}": value for name, value in content.items()}
  # In training, SpeechBrain keeps checkpoints two folders below.
  places = [folder]
  if folder.name.startswith("CKPT+"):
    places.append(folder.absolute().parent.parent)
  for place in places:
    if (place / _HYPERPARAMETERS).is_file():
      arguments = read_hyperparameters(place / _HYPERPARAMETERS)
      return Checkpoint(weights, arguments, "ConvTasNet", complete=True)
  return Checkpoint(weights)


def _read_file(path):
  """Whatever a file holds, tensors as arrays."""
  if not path.exists():
    raise ConversionError(f"there is no {path}.")
  with open(path, "rb") as file:
    start = file.read(9)
  if not start:
    raise ConversionError(f"{path} is empty.")
  # First, as the length before the bracket may look like PyTorch's bytes.
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
  # Asteroid writes down PyTorch's version, a string with a class of its own.
  try:
    with (
      warnings.catch_warnings(),
      torch.serialization.safe_globals([TorchVersion]),
    ):
      warnings.simplefilter("ignore")
      content = torch.load(path, map_location="cpu", weights_only=True)
  except pickle.UnpicklingError as error:
    raise ConversionError(_refusal(path)) from error
  except Exception as error:  # Damage shows in many ways, an OSError too.
    raise ConversionError(
      f"{path} is damaged or no checkpoint of PyTorch."
    ) from error
  return _arrays(content, torch)


def _refusal(path):
  """Why a file is not opened, with the objects that it would build."""
  import torch

  try:
    names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
  except Exception:  # Of files in the old format, and of damaged ones.
    names = []
  found = f" ({', '.join(sorted(names)[:3])})" if names else ""
  return (
    f"{path} is damaged or holds objects other than tensors{found}, which may "
    "run code when opened: save its state_dict alone."
  )


def _arrays(content, torch):
  """The content with arrays in the place of its tensors."""
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
  if not isinstance(content, Mapping):
    raise ConversionError(f"{path} holds no state_dict.")
  weights = _unwrapped(_weights(content, path), ("module.", "model."))
  if "model_args" in content:
    return Checkpoint(
      weights,
      _dictionary(content["model_args"], path),
      _text(content.get("model_name")),
      complete=True,
    )
  if "hyper_parameters" in content:
    options = _dictionary(content["hyper_parameters"], path)
    arguments = _of_asteroids_recipes(options)
    return Checkpoint(weights, arguments, complete=bool(arguments))
  return Checkpoint(weights)


def _text(name):
  return None if name is None else str(name)


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


def _unwrapped(weights: Mapping[str, np.ndarray], boxes: Iterable[str]):
  """The weights without the name of the module that they were trained in."""
  for box in boxes:
    if any(name.startswith(f"{box}encoder.") for name in weights) or all(
      name.startswith(box) for name in weights
    ):
      # The loss is the other part of what Lightning trains.
      weights = {
        name.removeprefix(box): value
        for name, value in weights.items()
        if not name.startswith("loss_func.")
      }
  return dict(weights)


def _of_asteroids_recipes(options):
  """The model's arguments among the flattened options of a training."""
  arguments = {}
  for group in ("filterbank_", "masknet_"):
    for name, value in options.items():
      if name.startswith(group):
        value = value.tolist() if isinstance(value, np.ndarray) else value
        arguments[name.removeprefix(group)] = None if value == "None" else value
  if arguments and "data_sample_rate" in options:
    arguments.setdefault("sample_rate", options["data_sample_rate"])
  return arguments
