"""Asteroid's ConvTasNet and DPTNet."""

from typing import Any

import numpy as np

from jaxsep import models
from jaxsep.conversion._architecture import (
  Architecture,
  ConversionError,
  Place,
  check_depth,
  choose,
  num_layers,
  size_of,
)

_OTHERS = ("fb_name", "in_chan", "out_chan", "sample_rate")
_NORMS = {
  "gLN": "global",
  "GlobLN": "global",
  "cLN": "channel",
  "ChanLN": "channel",
}
_CUMULATIVE = {"cgLN": "cumulative", "CumLN": "cumulative"}
_ACTIVATIONS = {
  None: None,
  "linear": None,
  "relu": "relu",
  "sigmoid": "sigmoid",
  "tanh": "tanh",
}
_MASK_ACTIVATIONS = {**_ACTIVATIONS, "softmax": "softmax"}
_BOOLEANS = {True: True, False: False}
_FILTERS = "encoder.filterbank._filters"
_CODERS = {
  _FILTERS: Place("encoder.kernel", "b1a"),
  "decoder.filterbank._filters": Place("decoder.kernel", "a1b"),
}
_DEPTHWISE = "masker.TCN.0.shared_block.3.weight"
_CAUSAL_DEPTHWISE = "masker.TCN.0.shared_block.3.0.weight"
_GATES = "masker.layers.0.0.recurrent.weight_hh_l0"


def _common_sizes(weights, masks):
  """What the filters tell, and the weights of the masks."""
  filters, outputs = size_of(weights, _FILTERS, 0), size_of(weights, masks, 0)
  return {
    "n_filters": filters,
    "kernel_size": size_of(weights, _FILTERS, 2),
    "n_src": outputs // filters if outputs and filters else None,
  }


def _check_filterbank(args):
  """Refuses filterbanks other than ours."""
  choose({"fb_name": "free", **args}, "fb_name", {"free": None, "FreeFB": None})
  for name in ("in_chan", "out_chan"):
    if args.get(name) not in (None, "None", args["n_filters"]):
      raise ConversionError(
        f"{name}={args[name]!r} has no counterpart here: only as many as "
        f"filters, {args['n_filters']}."
      )


def _conv_tasnet_sizes(weights, given):
  causal = _CAUSAL_DEPTHWISE in weights
  depthwise = _CAUSAL_DEPTHWISE if causal else _DEPTHWISE
  blocks = num_layers(weights, "masker.TCN.")
  per_repeat, repeats = given.get("n_blocks"), None
  if blocks and type(per_repeat) is int and per_repeat > 0:
    if blocks % per_repeat:
      raise ConversionError(
        f"{blocks} blocks are no whole number of repeats of "
        f"n_blocks={per_repeat}."
      )
    repeats = blocks // per_repeat
  return {
    **_common_sizes(weights, "masker.mask_net.1.weight"),
    "bn_chan": size_of(weights, "masker.bottleneck.1.weight", 0),
    "hid_chan": size_of(weights, "masker.TCN.0.shared_block.0.weight", 0),
    "skip_chan": size_of(weights, "masker.TCN.0.skip_conv.weight", 0),
    "conv_kernel_size": size_of(weights, depthwise, 2),
    "causal": causal if depthwise in weights else None,
    "n_repeats": repeats,
  }


def _conv_tasnet(args):
  _check_filterbank(args)
  check_depth(args["n_blocks"], args["n_repeats"])
  causal = choose(args, "causal", _BOOLEANS)
  norm = choose(args, "norm_type", _NORMS | _CUMULATIVE)
  if causal and args["norm_type"] not in ("cgLN", "cLN"):
    # Asteroid puts this norm in the place of any other.
    norm = "channel"
  return models.ConvTasNet(
    num_sources=args["n_src"],
    num_filters=args["n_filters"],
    filter_length=args["kernel_size"],
    encoder_activation=choose(args, "encoder_activation", _ACTIVATIONS),
    padding="none",
    masker=models.TemporalConvNet(
      bottleneck_channels=args["bn_chan"],
      hidden_channels=args["hid_chan"],
      skip_channels=args.get("skip_chan") or 0,
      kernel_size=args["conv_kernel_size"],
      num_blocks=args["n_blocks"],
      num_repeats=args["n_repeats"],
      causal=causal,
      norm=norm,
      mask_activation=choose(args, "mask_act", _MASK_ACTIVATIONS),
    ),
  )


def _conv_tasnet_places(model):
  masker = model.masker
  places = {
    **_CODERS,
    "masker.bottleneck.0.gamma": Place("masker.norm.scale"),
    "masker.bottleneck.0.beta": Place("masker.norm.bias"),
    **_dense("masker.bottleneck.1", "masker.bottleneck"),
    "masker.mask_net.0.weight": Place("masker.mask_slope", "1"),
    **_dense("masker.mask_net.1", "masker.mask"),
  }
  between = masker.bottleneck_channels
  for index in range(masker.num_blocks * masker.num_repeats):
    theirs, ours = f"masker.TCN.{index}", f"masker.block_{index}"
    shared = f"{theirs}.shared_block"
    # A causal convolution shares a box with what cuts its tail.
    depthwise = f"{shared}.3.0" if masker.causal else f"{shared}.3"
    places |= {
      **_dense(f"{shared}.0", f"{ours}.expand"),
      **_active(shared, 1, f"{ours}.expand"),
      f"{depthwise}.weight": Place(f"{ours}.depthwise.kernel", "b1a"),
      f"{depthwise}.bias": Place(f"{ours}.depthwise.bias"),
      **_active(shared, 4, f"{ours}.depthwise"),
      **_dense(f"{theirs}.res_conv", f"{ours}.heads", np.s_[..., :between]),
    }
    if masker.skip_channels:
      places |= _dense(
        f"{theirs}.skip_conv", f"{ours}.heads", np.s_[..., between:]
      )
  return places


def _dense(theirs, ours, part: Any = ..., axes="ba1"):
  """A convolution of one tap."""
  return {
    f"{theirs}.weight": Place(f"{ours}.kernel", axes, part),
    f"{theirs}.bias": Place(f"{ours}.bias", "a", part),
  }


def _active(shared, position, ours):
  """A PReLU, and the norm that follows it."""
  norm = f"{shared}.{position + 1}"
  return {
    f"{shared}.{position}.weight": Place(f"{ours}.slope", "1"),
    f"{norm}.gamma": Place(f"{ours}.norm_scale"),
    f"{norm}.beta": Place(f"{ours}.norm_bias"),
  }


CONV_TASNET = Architecture(
  peer="Asteroid",
  name="ConvTasNet",
  signs=("masker.TCN.", "masker.bottleneck.", "masker.mask_net."),
  defaults={
    "n_blocks": 8,
    "n_repeats": 3,
    "norm_type": "gLN",
    "mask_act": "sigmoid",
    "causal": False,
    "stride": 8,
    "encoder_activation": None,
  },
  counts=(
    "n_src",
    "n_filters",
    "kernel_size",
    "bn_chan",
    "hid_chan",
    "conv_kernel_size",
    "n_blocks",
    "n_repeats",
  ),
  others=("skip_chan", *_OTHERS),
  sizes=_conv_tasnet_sizes,
  build=_conv_tasnet,
  places=_conv_tasnet_places,
)


def _dptnet_sizes(weights, given):
  del given
  gates = size_of(weights, _GATES, 0)
  reverse = "masker.layers.0.1.recurrent.weight_hh_l0_reverse" in weights
  return {
    **_common_sizes(weights, "masker.first_out.1.weight"),
    "ff_hid": gates // 4 if gates else None,
    "n_repeats": num_layers(weights, "masker.layers."),
    "bidirectional": reverse if gates else None,
  }


def _dptnet(args):
  _check_filterbank(args)
  check_depth(1, args["n_repeats"])
  choose(args, "ff_activation", {"relu": "relu"})
  chunk, hop = args["chunk_size"], args["hop_size"]
  if hop not in (None, "None", chunk / 2):
    raise ConversionError(
      f"hop_size={hop!r} with chunk_size={chunk} has no counterpart here: "
      "chunks overlap by half."
    )
  return models.DPTNet(
    num_sources=args["n_src"],
    num_filters=args["n_filters"],
    filter_length=args["kernel_size"],
    feature_size=args["n_filters"],
    chunk_length=chunk,
    num_blocks=args["n_repeats"],
    num_heads=args["n_heads"],
    hidden_size=args["ff_hid"],
    inter_bidirectional=choose(
      {"bidirectional": True, **args}, "bidirectional", _BOOLEANS
    ),
    norm=choose(args, "norm_type", _NORMS),
    dropout=float(args.get("dropout") or 0),
    project_features=False,
    chunk_padding="chunk",
    divide_overlap=True,
    padding="none",
    mask_activation=choose(args, "mask_act", _MASK_ACTIVATIONS),
    encoder_activation=choose(args, "encoder_activation", _ACTIVATIONS),
  )


def _dptnet_places(model):
  features = model.feature_size
  places = {
    **_CODERS,
    "masker.in_norm.gamma": Place("input_norm.scale"),
    "masker.in_norm.beta": Place("input_norm.bias"),
    "masker.first_out.0.weight": Place("slope", "1"),
    **_dense("masker.first_out.1", "sources", axes="ba11"),
    **_dense("masker.net_out.0", "gated", np.s_[..., :features]),
    **_dense("masker.net_gate.0", "gated", np.s_[..., features:]),
  }
  for block in range(model.num_blocks):
    for index, way in enumerate(("intra", "inter")):
      theirs, ours = f"masker.layers.{block}.{index}", f"block_{block}.{way}"
      attention = f"{ours}.attention"
      places |= {
        f"{theirs}.mha.in_proj_weight": Place(
          f"{attention}.query_key_value.kernel", "ba"
        ),
        f"{theirs}.mha.in_proj_bias": Place(
          f"{attention}.query_key_value.bias"
        ),
        **_dense(f"{theirs}.mha.out_proj", f"{attention}.out", axes="ba"),
        **_dense(f"{theirs}.linear", f"{ours}.linear", axes="ba"),
      }
      for norm, place in (("norm_mha", "attention"), ("norm_ff", "linear")):
        norm, place = f"{theirs}.{norm}", f"{ours}.{place}_norm"
        places[f"{norm}.gamma"] = Place(f"{place}.scale")
        places[f"{norm}.beta"] = Place(f"{place}.bias")
      both = way == "intra" or model.inter_bidirectional
      for direction, end in enumerate(("", "_reverse") if both else ("",)):
        # Inputs over states. PyTorch's two biases are always added.
        rows = {"ih": np.s_[:features], "hh": np.s_[features:]}
        for part, row in rows.items():
          recurrent = f"{theirs}.recurrent"
          places[f"{recurrent}.weight_{part}_l0{end}"] = Place(
            f"{ours}.lstm.kernel", "ba", (direction, row)
          )
          places[f"{recurrent}.bias_{part}_l0{end}"] = Place(
            f"{ours}.lstm.bias", "a", direction
          )
  return places


DPTNET = Architecture(
  peer="Asteroid",
  name="DPTNet",
  signs=(
    "masker.layers.",
    "masker.in_norm.",
    "masker.first_out.",
    "masker.net_out.",
    "masker.net_gate.",
  ),
  defaults={
    "n_heads": 4,
    "chunk_size": 100,
    "hop_size": None,
    "stride": 8,
    "norm_type": "gLN",
    "ff_activation": "relu",
    "encoder_activation": "relu",
    "mask_act": "relu",
  },
  counts=(
    "n_src",
    "n_filters",
    "kernel_size",
    "ff_hid",
    "n_repeats",
    "n_heads",
    "chunk_size",
  ),
  others=("bidirectional", "dropout", *_OTHERS),
  sizes=_dptnet_sizes,
  build=_dptnet,
  places=_dptnet_places,
)
