"""Models of SpeechBrain."""

import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from jaxsep import models
from jaxsep.conversion._fitting import (
  ConversionError,
  Place,
  choose,
  fit,
  flat,
  gather,
  matrix,
  scalar,
  size_of,
  taps,
  told,
)

# What SpeechBrain itself takes for what the hyper-parameters leave out.
_DEFAULTS = {"norm_type": "gLN", "causal": False, "mask_nonlinear": "relu"}
_COUNTS = ("N", "B", "H", "P", "X", "R", "C", "kernel_size")
_TCN = "masknet.temporal_conv_net"
_BLOCK = re.compile(rf"{re.escape(_TCN)}\.temporalblock_(\d+)_(\d+)\.")
_PEER = "SpeechBrain"


def conv_tasnet_from_speechbrain(
  weights: Mapping[str, np.ndarray],
  arguments: Mapping[str, Any] | None = None,
  *,
  complete: bool = False,
) -> tuple[nn.Module, dict[str, Any]]:
  """SpeechBrain's ConvTasNet as ours, with the same outputs.

  The model of its WSJ0Mix recipe: `conv_tasnet.MaskNet` between the encoder
  and decoder of `dual_path`. It has neither skips nor biases nor a PReLU
  before the masks; ours gets one with the slope 1, the identity.

  Args:
    weights: The state dictionaries of the three modules as arrays, names with
      `encoder.`, `masknet.` and `decoder.` before them.
    arguments: Arguments of `MaskNet` by name, and `kernel_size` and `stride`
      of the encoder, as many as are known. Sizes that are left out are read
      off the weights; those given are checked against them.
    complete: Whether what the weights do not tell and `arguments` leave out
      has SpeechBrain's default value; else that is an error.

  Returns:
    The model and its parameters.

  Raises:
    ConversionError: If the weights do not fit the arguments, or an argument
      has no counterpart here.
  """
  args = gather(
    _DEFAULTS if complete else {},
    _read_off(weights),
    dict(arguments or {}),
    needed=_DEFAULTS,
    counts=_COUNTS,
    known=("stride", "sample_rate"),
    peer=_PEER,
  )
  if args["P"] % 2 == 0 or args["X"] > 30 or args["X"] * args["R"] > 1000:
    raise ConversionError(
      f"P={args['P']}, X={args['X']}, R={args['R']} cannot be."
    )
  causal = choose(args, "causal", {True: True, False: False}, _PEER)
  model = models.ConvTasNet(
    num_sources=args["C"],
    num_filters=args["N"],
    filter_length=args["kernel_size"],
    encoder_activation="relu",
    padding="none",
    masker=models.TemporalConvNet(
      bottleneck_channels=args["B"],
      hidden_channels=args["H"],
      skip_channels=0,
      kernel_size=args["P"],
      num_blocks=args["X"],
      num_repeats=args["R"],
      causal=causal,
      # Its softmax is over features, not over sources.
      mask_activation=choose(args, "mask_nonlinear", {"relu": "relu"}, _PEER),
      norm=choose(
        args, "norm_type", {"gLN": "global", "cLN": "channel"}, _PEER
      ),
      input_norm="channel",
      conv_padding="late" if causal else "reflect",
      use_bias=False,
    ),
  )
  params = fit(_table(model), weights, model="SpeechBrain's ConvTasNet")
  params["masker"]["mask_slope"] = np.ones((), np.float32)
  return model, params


def _read_off(weights):
  """What the shapes and names of the weights tell."""
  filters = size_of(weights, "encoder.conv1d.weight", 0)
  masks = size_of(weights, "masknet.mask_conv1x1.conv.weight", 0)
  first = f"{_TCN}.temporalblock_0_0.layers"
  found = [match.groups() for match in map(_BLOCK.match, weights) if match]
  repeats, blocks = zip(*found, strict=True) if found else ((), ())
  return told(
    N=filters,
    kernel_size=size_of(weights, "encoder.conv1d.weight", 2),
    B=size_of(weights, "masknet.bottleneck_conv1x1.conv.weight", 0),
    H=size_of(weights, f"{first}.conv.conv.weight", 0),
    P=size_of(weights, f"{first}.DSconv.conv_0.conv.weight", 2),
    C=masks // filters if masks and filters else None,
    R=1 + max(map(int, repeats)) if found else None,
    X=1 + max(map(int, blocks)) if found else None,
  )


def _table(model):
  """The place of every weight."""
  features, masker = model.num_filters, model.masker
  between, hidden = masker.bottleneck_channels, masker.hidden_channels
  filters = (features, 1, model.filter_length)
  table = {
    "encoder.conv1d.weight": Place(filters, "encoder.kernel", taps),
    "decoder.weight": Place(
      filters, "decoder.kernel", lambda weight: weight[:, 0]
    ),
    **_norm("masknet.layer_norm", "masker.norm.", features),
    "masknet.bottleneck_conv1x1.conv.weight": Place(
      (between, features, 1), "masker.bottleneck.kernel", matrix
    ),
    "masknet.mask_conv1x1.conv.weight": Place(
      (model.num_sources * features, between, 1), "masker.mask.kernel", matrix
    ),
  }
  for repeat in range(masker.num_repeats):
    for block in range(masker.num_blocks):
      theirs = f"{_TCN}.temporalblock_{repeat}_{block}.layers"
      ours = f"masker.block_{repeat * masker.num_blocks + block}"
      inner = f"{theirs}.DSconv"
      table |= {
        f"{theirs}.conv.conv.weight": Place(
          (hidden, between, 1), f"{ours}.expand.kernel", matrix
        ),
        f"{theirs}.act.weight": Place((1,), f"{ours}.expand.slope", scalar),
        **_norm(f"{theirs}.norm", f"{ours}.expand.norm_", hidden),
        f"{inner}.conv_0.conv.weight": Place(
          (hidden, 1, masker.kernel_size), f"{ours}.depthwise.kernel", taps
        ),
        f"{inner}.act.weight": Place((1,), f"{ours}.depthwise.slope", scalar),
        # The norm is the second layer of this name.
        **_norm(f"{inner}.act_0", f"{ours}.depthwise.norm_", hidden),
        f"{inner}.conv_1.conv.weight": Place(
          (between, hidden, 1), f"{ours}.heads.kernel", matrix
        ),
      }
  return table


def _norm(theirs, ours, channels):
  shape = (1, 1, channels)
  return {
    f"{theirs}.gamma": Place(shape, f"{ours}scale", flat),
    f"{theirs}.beta": Place(shape, f"{ours}bias", flat),
  }
