"""SpeechBrain's Transformer layers, and its language model of them."""

from collections.abc import Mapping
from typing import Any

from jaxsep import models
from jaxsep.conversion._architecture import (
  Architecture,
  Arguments,
  ConversionError,
  Place,
  Weights,
  check_depth,
  choose,
  num_layers,
  size_of,
)

# Arguments that have one value here, and what SpeechBrain takes without them.
Only = Mapping[str, tuple[Any, Any]]

_ONLY: Only = {
  "activation": ("GELU", "ReLU"),
  "attention_type": ("regularMHA", "regularMHA"),
  "num_decoder_layers": (0, 0),
  "d_embedding": (None, None),
}


def check_only(args: Arguments, only: Only) -> None:
  """Refuses other values of arguments that have one here, or one each."""
  for name, (value, _) in only.items():
    given = args[name]
    each = given if isinstance(given, (list, tuple)) else [given]
    if any(one != value for one in each):
      raise ConversionError(
        f"{name}={given!r} has no counterpart here: only {value}."
      )


def defaults_of(only: Only) -> dict[str, Any]:
  """What SpeechBrain takes for the arguments."""
  return {name: default for name, (_, default) in only.items()}


def linear(
  theirs: str, ours: str, axes: str = "ba", separator: str = "."
) -> dict[str, Place]:
  """A dense layer or a convolution."""
  return {
    f"{theirs}{separator}weight": Place(f"{ours}.kernel", axes),
    f"{theirs}{separator}bias": Place(f"{ours}.bias"),
  }


def norm(theirs: str, ours: str, axes: str = "a") -> dict[str, Place]:
  """A layer norm."""
  return {
    f"{theirs}.weight": Place(f"{ours}.scale", axes),
    f"{theirs}.bias": Place(f"{ours}.bias", axes),
  }


def feedforward(theirs: str, ours: str) -> dict[str, Place]:
  """That of `PositionalwiseFeedForward`."""
  return {
    **linear(f"{theirs}.ffn.0", f"{ours}.hidden"),
    **linear(f"{theirs}.ffn.3", f"{ours}.out"),
  }


def self_attention(theirs: str, ours: str) -> dict[str, Place]:
  """That of `torch.nn.MultiheadAttention`."""
  return {
    **linear(f"{theirs}.in_proj_", f"{ours}.query_key_value", separator=""),
    **linear(f"{theirs}.out_proj", f"{ours}.attention_out"),
  }


def prepare(weights: Weights) -> Weights:
  """The weights without tables of positions, attention to a memory in two."""
  prepared = {}
  for name, value in weights.items():
    # The name is misspelt in most versions.
    name = name.replace(".mutihead_attn.", ".multihead_attn.")
    start, crossing, end = name.partition(".multihead_attn.att.in_proj_")
    if crossing and value.ndim:
      inner = start + ".multihead_attn.att."
      third = len(value) // 3
      prepared[f"{inner}query_{end}"] = value[:third]
      prepared[f"{inner}memory_{end}"] = value[third:]
    elif not name.endswith((".pe", ".inv_freq")):
      prepared[name] = value
  return prepared


def _sizes(weights, given):
  del given
  return {
    "vocab": size_of(weights, "custom_src_module.emb.Embedding.weight", 0),
    "d_model": size_of(weights, "encoder.norm.norm.weight", 0),
    "d_ffn": size_of(weights, "encoder.layers.0.pos_ffn.ffn.0.weight", 0),
    "num_encoder_layers": num_layers(weights, "encoder.layers."),
  }


def _build(args):
  check_only(args, _ONLY)
  check_depth(1, args["num_encoder_layers"])
  return models.TransformerLanguageModel(
    num_tokens=args["vocab"],
    size=args["d_model"],
    num_layers=args["num_encoder_layers"],
    num_heads=args["nhead"],
    feedforward_size=args["d_ffn"],
    pre_norm=choose(args, "normalize_before", {True: True, False: False}),
    dropout=float(args["dropout"]),
  )


def _places(model):
  places = {
    "custom_src_module.emb.Embedding.weight": Place(
      "transformer.embedding.embedding", "ab"
    ),
    **norm("encoder.norm.norm", "transformer.norm"),
    **linear("output_proj.layers.0.w", "hidden"),
    **norm("output_proj.layers.1.norm", "norm"),
    **linear("output_proj.layers.2.w", "head"),
  }
  for index in range(model.num_layers):
    theirs, ours = f"encoder.layers.{index}", f"transformer.layers_{index}"
    places |= {
      **self_attention(f"{theirs}.self_att.att", ours),
      **feedforward(f"{theirs}.pos_ffn", f"{ours}.feedforward"),
      **norm(f"{theirs}.norm1.norm", f"{ours}.attention_norm"),
      **norm(f"{theirs}.norm2.norm", f"{ours}.feedforward_norm"),
    }
  return places


LANGUAGE_MODEL = Architecture(
  peer="SpeechBrain",
  name="TransformerLM",
  signs=("output_proj.",),
  defaults={
    "nhead": 8,
    "dropout": 0.1,
    "normalize_before": False,
    **defaults_of(_ONLY),
  },
  counts=("vocab", "d_model", "nhead", "d_ffn", "num_encoder_layers"),
  others=("positional_encoding", "max_length", "causal"),
  sizes=_sizes,
  build=_build,
  places=_places,
  task="language_model",
  prepare=prepare,
)
