"""Models of Asteroid."""

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
  gather,
  matrix,
  same,
  scalar,
  size_of,
  taps,
  told,
)

# What Asteroid itself takes for what a checkpoint's model_args leave out.
_DEFAULTS = {
  "n_blocks": 8,
  "n_repeats": 3,
  "norm_type": "gLN",
  "mask_act": "sigmoid",
  "causal": False,
  "stride": 8,
  "encoder_activation": None,
}
_COUNTS = (
  "n_src",
  "n_filters",
  "kernel_size",
  "bn_chan",
  "hid_chan",
  "conv_kernel_size",
  "n_blocks",
  "n_repeats",
)
OTHERS = ("fb_name", "in_chan", "out_chan", "sample_rate")
_NORMS = {
  "gLN": "global",
  "GlobLN": "global",
  "cgLN": "cumulative",
  "CumLN": "cumulative",
  "cLN": "channel",
  "ChanLN": "channel",
}
ACTIVATIONS = {
  None: None,
  "linear": None,
  "relu": "relu",
  "sigmoid": "sigmoid",
  "tanh": "tanh",
}
_BLOCK = re.compile(r"masker\.TCN\.(\d+)\.")
_PEER = "Asteroid"
FILTERS = "encoder.filterbank._filters"
_DEPTHWISE = "masker.TCN.0.shared_block.3.weight"
_CAUSAL_DEPTHWISE = "masker.TCN.0.shared_block.3.0.weight"


def conv_tasnet_from_asteroid(
  weights: Mapping[str, np.ndarray],
  arguments: Mapping[str, Any] | None = None,
  *,
  complete: bool = False,
) -> tuple[nn.Module, dict[str, Any]]:
  """Asteroid's ConvTasNet as ours, with the same outputs.

  Args:
    weights: Its `state_dict()` as arrays.
    arguments: Its `model_args`, as many as are known. Sizes that are left out
      are read off the weights; those given are checked against them.
    complete: Whether what the weights do not tell and `arguments` leave out
      has Asteroid's default value; else that is an error.

  Returns:
    The model and its parameters.

  Raises:
    ConversionError: If the weights do not fit the arguments, or an argument
      has no counterpart here.
  """
  given, defaults = dict(arguments or {}), _DEFAULTS if complete else {}
  args = gather(
    defaults,
    _read_off(weights, given.get("n_blocks", defaults.get("n_blocks"))),
    given,
    needed=_DEFAULTS,
    counts=_COUNTS,
    known=("skip_chan", *OTHERS),
    peer=_PEER,
  )
  check_filterbank(args)
  causal = choose(args, "causal", {True: True, False: False}, _PEER)
  if causal and args["norm_type"] not in ("cgLN", "cLN"):
    # Asteroid puts this norm in the place of any other.
    args["norm_type"] = "cLN"
  skips = args.get("skip_chan") or 0
  if type(skips) is not int or skips < 0:
    raise ConversionError(f"skip_chan cannot be {skips!r}.")
  if args["conv_kernel_size"] % 2 == 0 and not causal:
    raise ConversionError(
      f"{_PEER}'s conv_kernel_size={args['conv_kernel_size']} has no "
      "counterpart here: only odd ones, or any if causal."
    )
  if args["n_blocks"] > 30 or args["n_blocks"] * args["n_repeats"] > 1000:
    raise ConversionError(
      f"{args['n_repeats']} repeats of {args['n_blocks']} blocks cannot be."
    )
  model = models.ConvTasNet(
    num_sources=args["n_src"],
    num_filters=args["n_filters"],
    filter_length=args["kernel_size"],
    encoder_activation=choose(args, "encoder_activation", ACTIVATIONS, _PEER),
    padding="none",
    masker=models.TemporalConvNet(
      bottleneck_channels=args["bn_chan"],
      hidden_channels=args["hid_chan"],
      skip_channels=skips,
      kernel_size=args["conv_kernel_size"],
      num_blocks=args["n_blocks"],
      num_repeats=args["n_repeats"],
      causal=causal,
      norm=choose(args, "norm_type", _NORMS, _PEER),
      mask_activation=choose(
        args, "mask_act", {**ACTIVATIONS, "softmax": "softmax"}, _PEER
      ),
    ),
  )
  return model, fit(_table(model), weights, model="Asteroid's ConvTasNet")


def check_filterbank(args: Mapping[str, Any]) -> None:
  """Refuses filterbanks that are not ours.

  Raises:
    ConversionError: Naming the option.
  """
  kinds = {"free": None, "FreeFB": None}
  choose({"fb_name": "free", **args}, "fb_name", kinds, _PEER)
  for name in ("in_chan", "out_chan"):
    if args.get(name) not in (None, "None", args["n_filters"]):
      raise ConversionError(
        f"{_PEER}'s {name}={args[name]!r} has no counterpart here: only as "
        f"many as filters, {args['n_filters']}."
      )


def _read_off(weights, per_repeat):
  """What the shapes and names of the weights tell."""
  causal = _CAUSAL_DEPTHWISE in weights
  depthwise = _CAUSAL_DEPTHWISE if causal else _DEPTHWISE
  filters = size_of(weights, FILTERS, 0)
  masks = size_of(weights, "masker.mask_net.1.weight", 0)
  blocks = 1 + max(
    (int(match[1]) for match in map(_BLOCK.match, weights) if match), default=-1
  )
  repeats = None
  if blocks and type(per_repeat) is int and per_repeat > 0:
    if blocks % per_repeat:
      raise ConversionError(
        f"{blocks} blocks are no whole number of repeats of "
        f"n_blocks={per_repeat}."
      )
    repeats = blocks // per_repeat
  return told(
    n_filters=filters,
    kernel_size=size_of(weights, FILTERS, 2),
    bn_chan=size_of(weights, "masker.bottleneck.1.weight", 0),
    hid_chan=size_of(weights, "masker.TCN.0.shared_block.0.weight", 0),
    skip_chan=size_of(weights, "masker.TCN.0.skip_conv.weight", 0),
    conv_kernel_size=size_of(weights, depthwise, 2),
    n_src=masks // filters if masks and filters else None,
    causal=causal if depthwise in weights else None,
    n_repeats=repeats,
  )


def _table(model):
  """The place of every weight."""
  features, masker = model.num_filters, model.masker
  between = masker.bottleneck_channels
  filters = (features, 1, model.filter_length)
  heard = masker.skip_channels or between
  masks = model.num_sources * features
  table = {
    "encoder.filterbank._filters": Place(filters, "encoder.kernel", taps),
    "decoder.filterbank._filters": Place(
      filters, "decoder.kernel", lambda weight: weight[:, 0]
    ),
    "masker.bottleneck.0.gamma": Place((features,), "masker.norm.scale", same),
    "masker.bottleneck.0.beta": Place((features,), "masker.norm.bias", same),
    **_conv("masker.bottleneck.1", "masker.bottleneck", features, between),
    "masker.mask_net.0.weight": Place((1,), "masker.mask_slope", scalar),
    **_conv("masker.mask_net.1", "masker.mask", heard, masks),
  }
  for index in range(masker.num_blocks * masker.num_repeats):
    table |= _block(masker, f"masker.TCN.{index}", f"masker.block_{index}")
  return table


def _block(masker, theirs, ours):
  between, hidden = masker.bottleneck_channels, masker.hidden_channels
  shared = f"{theirs}.shared_block"
  # A causal convolution shares a box with what cuts its tail.
  depthwise = f"{shared}.3.0" if masker.causal else f"{shared}.3"
  places = {
    **_conv(f"{shared}.0", f"{ours}.expand", between, hidden),
    **_active(shared, 1, f"{ours}.expand", hidden),
    f"{depthwise}.weight": Place(
      (hidden, 1, masker.kernel_size), f"{ours}.depthwise.kernel", taps
    ),
    f"{depthwise}.bias": Place((hidden,), f"{ours}.depthwise.bias", same),
    **_active(shared, 4, f"{ours}.depthwise", hidden),
    **_conv(f"{theirs}.res_conv", f"{ours}.heads", hidden, between),
  }
  if masker.skip_channels:
    places |= _conv(
      f"{theirs}.skip_conv", f"{ours}.heads", hidden, masker.skip_channels
    )
  return places


def _conv(theirs, ours, inputs, outputs):
  return {
    f"{theirs}.weight": Place((outputs, inputs, 1), f"{ours}.kernel", matrix),
    f"{theirs}.bias": Place((outputs,), f"{ours}.bias", same),
  }


def _active(shared, position, ours, channels):
  """A PReLU, and the norm that follows it."""
  norm = f"{shared}.{position + 1}"
  return {
    f"{shared}.{position}.weight": Place((1,), f"{ours}.slope", scalar),
    f"{norm}.gamma": Place((channels,), f"{ours}.norm_scale", same),
    f"{norm}.beta": Place((channels,), f"{ours}.norm_bias", same),
  }
