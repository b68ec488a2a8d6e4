"""SpeechBrain's ConvTasNet: that of its WSJ0Mix recipe.

It is `conv_tasnet.MaskNet` between the encoder and decoder of `dual_path`. It
has neither skips nor biases, and no PReLU before the masks: ours gets the slope
1, the identity.
"""

import re

from jaxsep import models
from jaxsep.conversion._architecture import (
  Architecture,
  ConversionError,
  Place,
  check_depth,
  choose,
  size_of,
)

_TCN = "masknet.temporal_conv_net"
_BLOCK = re.compile(rf"{re.escape(_TCN)}\.temporalblock_(\d+)_(\d+)\.")


def _sizes(weights, given):
  del given
  filters = size_of(weights, "encoder.conv1d.weight", 0)
  masks = size_of(weights, "masknet.mask_conv1x1.conv.weight", 0)
  first = f"{_TCN}.temporalblock_0_0.layers"
  found = [match.groups() for match in map(_BLOCK.match, weights) if match]
  repeats, blocks = zip(*found, strict=True) if found else ((), ())
  return {
    "N": filters,
    "kernel_size": size_of(weights, "encoder.conv1d.weight", 2),
    "B": size_of(weights, "masknet.bottleneck_conv1x1.conv.weight", 0),
    "H": size_of(weights, f"{first}.conv.conv.weight", 0),
    "P": size_of(weights, f"{first}.DSconv.conv_0.conv.weight", 2),
    "C": masks // filters if masks and filters else None,
    "R": 1 + max(map(int, repeats)) if found else None,
    "X": 1 + max(map(int, blocks)) if found else None,
  }


def _build(args):
  check_depth(args["X"], args["R"])
  if args["P"] % 2 == 0:
    raise ConversionError(f"P={args['P']} has no counterpart here: only odd.")
  causal = choose(args, "causal", {True: True, False: False})
  return models.ConvTasNet(
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
      mask_activation=choose(args, "mask_nonlinear", {"relu": "relu"}),
      norm=choose(args, "norm_type", {"gLN": "global", "cLN": "channel"}),
      input_norm="channel",
      conv_padding="late" if causal else "reflect",
      use_bias=False,
    ),
  )


def _places(model):
  masker = model.masker
  places = {
    "encoder.conv1d.weight": Place("encoder.kernel", "b1a"),
    "decoder.weight": Place("decoder.kernel", "a1b"),
    **_norm("masknet.layer_norm", "masker.norm."),
    "masknet.bottleneck_conv1x1.conv.weight": Place(
      "masker.bottleneck.kernel", "ba1"
    ),
    "masknet.mask_conv1x1.conv.weight": Place("masker.mask.kernel", "ba1"),
  }
  for index in range(masker.num_repeats * masker.num_blocks):
    repeat, block = divmod(index, masker.num_blocks)
    theirs = f"{_TCN}.temporalblock_{repeat}_{block}.layers"
    inner, ours = f"{theirs}.DSconv", f"masker.block_{index}"
    places |= {
      f"{theirs}.conv.conv.weight": Place(f"{ours}.expand.kernel", "ba1"),
      f"{theirs}.act.weight": Place(f"{ours}.expand.slope", "1"),
      **_norm(f"{theirs}.norm", f"{ours}.expand.norm_"),
      f"{inner}.conv_0.conv.weight": Place(f"{ours}.depthwise.kernel", "b1a"),
      f"{inner}.act.weight": Place(f"{ours}.depthwise.slope", "1"),
      # The norm is the second layer of this name.
      **_norm(f"{inner}.act_0", f"{ours}.depthwise.norm_"),
      f"{inner}.conv_1.conv.weight": Place(f"{ours}.heads.kernel", "ba1"),
    }
  return places


def _norm(theirs, ours):
  return {
    f"{theirs}.gamma": Place(f"{ours}scale", "11a"),
    f"{theirs}.beta": Place(f"{ours}bias", "11a"),
  }


CONV_TASNET = Architecture(
  peer="SpeechBrain",
  name="ConvTasNet",
  signs=("masknet.",),
  defaults={"norm_type": "gLN", "causal": False, "mask_nonlinear": "relu"},
  counts=("N", "B", "H", "P", "X", "R", "C", "kernel_size"),
  others=("stride", "sample_rate"),
  sizes=_sizes,
  build=_build,
  places=_places,
  fixed={"masker.mask_slope": 1.0},
)
