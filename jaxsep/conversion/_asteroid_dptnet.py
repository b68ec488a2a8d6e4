"""DPTNet of Asteroid."""

import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from jaxsep import models
from jaxsep.conversion._asteroid import (
  ACTIVATIONS,
  FILTERS,
  OTHERS,
  check_filterbank,
)
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
  "n_heads": 4,
  "chunk_size": 100,
  "hop_size": None,
  "stride": 8,
  "norm_type": "gLN",
  "ff_activation": "relu",
  "encoder_activation": "relu",
  "mask_act": "relu",
}
_COUNTS = (
  "n_src",
  "n_filters",
  "kernel_size",
  "ff_hid",
  "n_repeats",
  "n_heads",
  "chunk_size",
)
_NORMS = {
  "gLN": "global",
  "GlobLN": "global",
  "cLN": "channel",
  "ChanLN": "channel",
}
_LAYER = re.compile(r"masker\.layers\.(\d+)\.")
_PEER = "Asteroid"
_GATES = "masker.layers.0.0.recurrent.weight_hh_l0"
_MASKS = "masker.first_out.1.weight"


def dptnet_from_asteroid(
  weights: Mapping[str, np.ndarray],
  arguments: Mapping[str, Any] | None = None,
  *,
  complete: bool = False,
) -> tuple[nn.Module, dict[str, Any]]:
  """Asteroid's DPTNet as ours, with the same outputs.

  PyTorch has two biases in each direction of an LSTM, which are always added:
  ours are their sums.

  Args:
    weights: See `conv_tasnet_from_asteroid`.
    arguments: See `conv_tasnet_from_asteroid`.
    complete: See `conv_tasnet_from_asteroid`.

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
    known=("bidirectional", "dropout", *OTHERS),
    peer=_PEER,
  )
  check_filterbank(args)
  _check(args)
  model = models.DPTNet(
    num_sources=args["n_src"],
    num_filters=args["n_filters"],
    filter_length=args["kernel_size"],
    feature_size=args["n_filters"],
    chunk_length=args["chunk_size"],
    num_blocks=args["n_repeats"],
    num_heads=args["n_heads"],
    hidden_size=args["ff_hid"],
    inter_bidirectional=args.get("bidirectional", True),
    norm=choose(args, "norm_type", _NORMS, _PEER),
    dropout=float(args.get("dropout") or 0),
    project_features=False,
    chunk_padding="chunk",
    divide_overlap=True,
    padding="none",
    mask_activation=choose(
      args, "mask_act", {**ACTIVATIONS, "softmax": "softmax"}, _PEER
    ),
    encoder_activation=choose(args, "encoder_activation", ACTIVATIONS, _PEER),
  )
  return model, fit(_table(model), weights, model="Asteroid's DPTNet")


def _check(args):
  """Refuses what our model cannot be."""
  choose(args, "ff_activation", {"relu": "relu"}, _PEER)
  choose(
    {"bidirectional": True, **args}, "bidirectional", {True: 1, False: 0}, _PEER
  )
  chunk, hop = args["chunk_size"], args["hop_size"]
  if chunk % 2 or hop not in (None, "None", chunk // 2):
    raise ConversionError(
      f"{_PEER}'s hop_size={hop!r} with chunk_size={chunk} has no counterpart "
      "here: chunks are of even length and overlap by half."
    )
  if args["n_filters"] % args["n_heads"]:
    raise ConversionError(
      f"{_PEER}'s n_heads={args['n_heads']} with n_filters="
      f"{args['n_filters']} has no counterpart here: it has to divide them."
    )
  dropout = args.get("dropout") or 0
  if not isinstance(dropout, (int, float)) or not 0 <= dropout < 1:
    raise ConversionError(f"dropout cannot be {dropout!r}.")
  if args["n_repeats"] > 1000:
    raise ConversionError(f"n_repeats cannot be {args['n_repeats']}.")


def _read_off(weights):
  """What the shapes and names of the weights tell."""
  gates = size_of(weights, _GATES, 0)
  filters = size_of(weights, FILTERS, 0)
  masks = size_of(weights, _MASKS, 0)
  blocks = [
    int(match.group(1)) for name in weights if (match := _LAYER.match(name))
  ]
  reverse = "masker.layers.0.1.recurrent.weight_hh_l0_reverse" in weights
  return told(
    n_filters=filters,
    kernel_size=size_of(weights, FILTERS, 2),
    ff_hid=gates // 4 if gates else None,
    n_src=masks // filters if masks and filters else None,
    n_repeats=max(blocks) + 1 if blocks else None,
    bidirectional=reverse if gates else None,
  )


def _table(model):
  """The place of every weight."""
  features, sources = model.num_filters, model.num_sources
  filters = (features, 1, model.filter_length)
  table = {
    "encoder.filterbank._filters": Place(filters, "encoder.kernel", taps),
    "decoder.filterbank._filters": Place(
      filters, "decoder.kernel", lambda weight: weight[:, 0]
    ),
    "masker.in_norm.gamma": Place((features,), "input_norm.scale", same),
    "masker.in_norm.beta": Place((features,), "input_norm.bias", same),
    "masker.first_out.0.weight": Place((1,), "slope", scalar),
    "masker.first_out.1.weight": Place(
      (sources * features, features, 1, 1), "sources.kernel", matrix
    ),
    "masker.first_out.1.bias": Place(
      (sources * features,), "sources.bias", same
    ),
  }
  for head in ("net_out", "net_gate"):
    table |= {
      f"masker.{head}.0.weight": Place(
        (features, features, 1), "gated.kernel", matrix
      ),
      f"masker.{head}.0.bias": Place((features,), "gated.bias", same),
    }
  for block in range(model.num_blocks):
    for index, way in enumerate(("intra", "inter")):
      table |= _layer(
        f"masker.layers.{block}.{index}",
        f"block_{block}.{way}",
        features,
        model.hidden_size,
        way == "intra" or model.inter_bidirectional,
      )
  return table


def _layer(theirs, ours, features, hidden, bidirectional):
  """Attention, LSTM, linear layer and two norms."""
  directions = ("", "_reverse") if bidirectional else ("",)
  outputs = hidden * len(directions)
  attention = f"{ours}.attention"
  places = {
    f"{theirs}.mha.in_proj_weight": Place(
      (3 * features, features), f"{attention}.query_key_value.kernel", matrix
    ),
    f"{theirs}.mha.in_proj_bias": Place(
      (3 * features,), f"{attention}.query_key_value.bias", same
    ),
    f"{theirs}.mha.out_proj.weight": Place(
      (features, features), f"{attention}.out.kernel", matrix
    ),
    f"{theirs}.mha.out_proj.bias": Place(
      (features,), f"{attention}.out.bias", same
    ),
    f"{theirs}.linear.weight": Place(
      (features, outputs), f"{ours}.linear.kernel", matrix
    ),
    f"{theirs}.linear.bias": Place((features,), f"{ours}.linear.bias", same),
  }
  for norm, place in (("norm_mha", "attention"), ("norm_ff", "linear")):
    for kind, name in (("gamma", "scale"), ("beta", "bias")):
      places[f"{theirs}.{norm}.{kind}"] = Place(
        (features,), f"{ours}.{place}_norm.{name}", same
      )
  for end in directions:
    for part, width in (("ih", features), ("hh", hidden)):
      places[f"{theirs}.recurrent.weight_{part}_l0{end}"] = Place(
        (4 * hidden, width), f"{ours}.lstm.kernel", matrix, _kernels
      )
      places[f"{theirs}.recurrent.bias_{part}_l0{end}"] = Place(
        (4 * hidden,), f"{ours}.lstm.bias", same, _biases
      )
  return places


def _kernels(parts):
  """Of each direction, the rows of the inputs over those of the state."""
  pairs = zip(parts[::2], parts[1::2], strict=True)
  return np.stack([np.concatenate(pair) for pair in pairs])


def _biases(parts):
  """Of each direction, the sum of both."""
  return np.stack(parts).reshape(-1, 2, parts[0].size).sum(axis=1)
