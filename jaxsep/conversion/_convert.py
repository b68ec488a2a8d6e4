"""From a checkpoint of a peer to a model of ours."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax

from jaxsep.conversion._asteroid import conv_tasnet_from_asteroid
from jaxsep.conversion._asteroid_dptnet import dptnet_from_asteroid
from jaxsep.conversion._checkpoints import read_checkpoint
from jaxsep.conversion._fitting import ConversionError, whole_rate
from jaxsep.conversion._speechbrain import conv_tasnet_from_speechbrain

_PEERS = {"asteroid": "Asteroid", "speechbrain": "SpeechBrain"}

# What gives away a model: the start of the name of one of its weights.
_SIGNS = {
  ("asteroid", "ConvTasNet"): (
    "masker.TCN.",
    "masker.bottleneck.",
    "masker.mask_net.",
  ),
  ("asteroid", "DPTNet"): (
    "masker.layers.",
    "masker.in_norm.",
    "masker.first_out.",
    "masker.net_out.",
    "masker.net_gate.",
  ),
  ("speechbrain", "ConvTasNet"): ("masknet.",),
}
_CONVERTERS: dict[tuple[str, str], Callable[..., tuple[nn.Module, Any]]] = {
  ("asteroid", "ConvTasNet"): conv_tasnet_from_asteroid,
  ("asteroid", "DPTNet"): dptnet_from_asteroid,
  ("speechbrain", "ConvTasNet"): conv_tasnet_from_speechbrain,
}


@dataclasses.dataclass(frozen=True)
class Conversion:
  """What `convert` returns.

  Attributes:
    model: The module.
    params: Its parameters.
    sample_rate_hz: Sample rate of the signals it was trained on.
    peer: Where it comes from: `"Asteroid"` or `"SpeechBrain"`.
  """

  model: nn.Module
  params: dict[str, Any]
  sample_rate_hz: int
  peer: str

  @property
  def num_params(self) -> int:
    """Number of its parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(self.params))


def convert(
  checkpoint: str | os.PathLike,
  *,
  peer: str | None = None,
  sample_rate_hz: int | None = None,
  arguments: Mapping[str, Any] | None = None,
) -> Conversion:
  """Reads a checkpoint of Asteroid or SpeechBrain.

  Nothing in the checkpoint is run: files that need more than tensors, numbers
  and text to be opened are refused.

  Args:
    checkpoint: A file of Asteroid: what its `serialize` makes, a checkpoint of
      its training or a state dictionary; or the folder of a SpeechBrain
      ConvTasNet. State dictionaries may be safetensors.
    peer: `"asteroid"` or `"speechbrain"`; None to tell by the names.
    sample_rate_hz: Sample rate, where the checkpoint does not say it.
    arguments: Arguments of the model at the peer, where the checkpoint does
      not say them.

  Returns:
    The model, its parameters and its rate.

  Raises:
    ConversionError: If the checkpoint cannot be read, is incomplete or is of
      a model that has no counterpart here; its `lines` say what is wrong.
  """
  found = read_checkpoint(checkpoint)
  key = _recognise(found, peer)
  told = dict(found.arguments)
  for name, value in (arguments or {}).items():
    if told.get(name, value) != value:
      raise ConversionError(
        f"the checkpoint says {name}={told[name]!r}, not {value!r}."
      )
    told[name] = value
  rate = whole_rate(told.get("sample_rate"))
  if rate and sample_rate_hz not in (None, rate):
    raise ConversionError(
      f"the checkpoint says {rate} Hz, not {sample_rate_hz} Hz."
    )
  rate = rate or whole_rate(sample_rate_hz)
  model, params = _CONVERTERS[key](found.weights, told, complete=found.complete)
  if rate is None:
    raise ConversionError(
      "the checkpoint does not say its sample rate: give --sample_rate_hz."
    )
  return Conversion(model, params, rate, _PEERS[key[0]])


def _recognise(found, peer):
  """The peer, and the model there."""
  named = [key for key in _CONVERTERS if key[1] == found.model_name]
  if found.model_name and not named:
    names = ", ".join(sorted({name for _, name in _CONVERTERS}))
    raise ConversionError(
      f"the model {found.model_name} has no counterpart here: only {names}."
    )
  of_peer = [key for key in _CONVERTERS if peer in (None, key[0])]
  candidates = [key for key in named if key in of_peer] or of_peer
  known = [
    key
    for key in candidates
    if any(name.startswith(_SIGNS[key]) for name in found.weights)
  ]
  if known or named or len(candidates) == 1:
    return (known or candidates)[0]
  names = ", ".join(list(found.weights)[:3])
  if peer is None:
    raise ConversionError(
      f"no known model has weights such as {names}: give --from if it is "
      f"incomplete."
    )
  signs = " or ".join(f"{_SIGNS[key][0]} ({key[1]})" for key in candidates)
  raise ConversionError(
    f"weights such as {names} do not tell which model of {_PEERS[peer]} it is: "
    f"there is none of {signs}; fetch or save the whole checkpoint again."
  )
