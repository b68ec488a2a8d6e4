"""From a checkpoint of a peer to a model of ours."""

import dataclasses
import math
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from jaxsep import text
from jaxsep.conversion import (
  _asteroid,
  _speechbrain,
  _speechbrain_recognizer,
  _speechbrain_transformer,
)
from jaxsep.conversion._architecture import ConversionError
from jaxsep.conversion._checkpoints import Checkpoint, read_checkpoint

_ARCHITECTURES = (
  _asteroid.CONV_TASNET,
  _asteroid.DPTNET,
  _speechbrain.CONV_TASNET,
)
# What only the description beside a checkpoint tells.
_DESCRIBED = {
  one.name: one
  for one in (
    _speechbrain_recognizer.RECOGNIZER,
    _speechbrain_transformer.LANGUAGE_MODEL,
  )
}


@dataclasses.dataclass(frozen=True)
class Conversion:
  """What `convert` returns.

  Attributes:
    model: The module.
    variables: All its collections, such as `{"params": ...}`.
    sample_rate_hz: Sample rate of the signals it was trained on.
    peer: Where it comes from: `"Asteroid"` or `"SpeechBrain"`.
    task: What it does, such as `"separation"`.
    parts: Models that belong to it: `language_model`, of a recogniser.
    files: Files that belong to it: `tokenizer`, of a recogniser.
  """

  model: nn.Module
  variables: dict[str, Any]
  sample_rate_hz: int
  peer: str
  task: str = "separation"
  parts: dict[str, "Conversion"] = dataclasses.field(default_factory=dict)
  files: dict[str, pathlib.Path] = dataclasses.field(default_factory=dict)

  @property
  def num_params(self) -> int:
    """Number of its parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(self.variables["params"]))


def convert(
  checkpoint: str | os.PathLike | Mapping[str, np.ndarray],
  *,
  peer: str | None = None,
  sample_rate_hz: int | None = None,
  arguments: Mapping[str, Any] | None = None,
) -> Conversion:
  """Turns a checkpoint of Asteroid or SpeechBrain into a model of ours.

  The outputs are the same. Nothing in the checkpoint is run: files that need
  more than tensors, numbers and text to be opened are refused.

  Args:
    checkpoint: A file of Asteroid: what its `serialize` makes, a checkpoint of
      its training or a state dictionary; or the folder of a SpeechBrain
      ConvTasNet, or of a Conformer recogniser: `hyperparams.yaml`, `asr.ckpt`
      (in training, `model.ckpt`), `normalizer.ckpt`, `tokenizer.ckpt` and, if
      there is one, the language model `lm.ckpt`. State dictionaries may be
      safetensors, or arrays by name; in those of SpeechBrain, names start with
      `encoder.`, `masknet.` or `decoder.`.
    peer: `"asteroid"` or `"speechbrain"`; None to tell by the names.
    sample_rate_hz: Sample rate, where the checkpoint does not say it.
    arguments: Arguments of the model at the peer, where the checkpoint does
      not say them.

  Returns:
    The model, its variables and its rate.

  Raises:
    ConversionError: If the checkpoint cannot be read, is incomplete or is of
      a model that has no counterpart here; its `lines` say what is wrong.
  """
  if isinstance(checkpoint, Mapping):
    found = Checkpoint(dict(checkpoint))
  else:
    found = read_checkpoint(checkpoint)
  converted = _converted(found, peer, sample_rate_hz, arguments or {})
  parts = {
    name: _converted(part, peer, converted.sample_rate_hz, {})
    for name, part in found.parts.items()
  }
  if path := found.files.get("tokenizer"):
    _check_tokenizer(path, converted, *parts.values())
  return dataclasses.replace(converted, parts=parts, files=found.files)


def _converted(found, peer, sample_rate_hz, arguments):
  """One model, without what belongs to it."""
  if peer in (None, "speechbrain") and found.model_name in _DESCRIBED:
    architecture = _DESCRIBED[found.model_name]
  else:
    architecture = _recognise(found, peer)
  told = dict(found.arguments)
  for name, value in arguments.items():
    if told.setdefault(name, value) != value:
      raise ConversionError(
        f"the checkpoint says {name}={told[name]!r}, not {value!r}."
      )
  rate = _whole_rate(told.get("sample_rate"))
  if rate and sample_rate_hz not in (None, rate):
    raise ConversionError(
      f"the checkpoint says {rate} Hz, not {sample_rate_hz} Hz."
    )
  rate = rate or _whole_rate(sample_rate_hz)
  model, variables = architecture.convert(
    found.weights, told, complete=found.complete
  )
  if rate is None:
    raise ConversionError(
      "the checkpoint does not say its sample rate: give --sample_rate_hz."
    )
  return Conversion(
    model, variables, rate, architecture.peer, architecture.task
  )


def _check_tokenizer(path, *conversions):
  """Refuses what is no tokenizer, and one with other tokens than a model."""
  try:
    size = text.load_tokenizer(path).size
  except (ImportError, ValueError) as error:
    raise ConversionError(f"cannot read {path}: {error}.") from error
  for one in conversions:
    if one.model.num_tokens != size:
      raise ConversionError(
        f"{path} has {size} tokens, but the {type(one.model).__name__} has"
        f" {one.model.num_tokens}."
      )


def _recognise(found, peer):
  """The architecture that a checkpoint is of."""
  named = [one for one in _ARCHITECTURES if one.name == found.model_name]
  if found.model_name and not named:
    names = ", ".join(sorted({one.name for one in _ARCHITECTURES}))
    raise ConversionError(
      f"the model {found.model_name} has no counterpart here: only {names}."
    )
  of_peer = [o for o in _ARCHITECTURES if peer in (None, o.peer.lower())]
  candidates = [one for one in named if one in of_peer] or of_peer
  known = [
    one
    for one in candidates
    if any(name.startswith(one.signs) for name in found.weights)
  ]
  if known or named or len(candidates) == 1:
    return (known or candidates)[0]
  names = ", ".join(list(found.weights)[:3])
  if peer is None:
    raise ConversionError(
      f"no known model has weights such as {names}: give --from if it is "
      "incomplete."
    )
  signs = " or ".join(f"{one.signs[0]} ({one.name})" for one in candidates)
  raise ConversionError(
    f"weights such as {names} do not tell which model of {candidates[0].peer} "
    f"it is: there is none of {signs}; fetch or save the whole checkpoint "
    "again."
  )


def _whole_rate(value):
  """A sample rate in whole hertz; None if there is none."""
  if value is None or value == "None":
    return None
  if isinstance(value, (int, float)) and math.isfinite(value):
    if value == int(value) and value > 0 and not isinstance(value, bool):
      return int(value)
  raise ConversionError(f"the sample rate cannot be {value!r}.")
