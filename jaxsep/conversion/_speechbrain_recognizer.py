"""SpeechBrain's Conformer recogniser.

Theirs differ from ours in what can be moved into the weights. Attention within
the encoder divides by the root of all features, not of those of a head: our
queries and their biases are smaller by the root of the number of heads. The
features are in decibels, ours in nepers of power: so are the corpus' mean and
deviation.
"""

import math

from jaxsep import dsp, models
from jaxsep.conversion._architecture import (
  Architecture,
  ConversionError,
  Place,
  check_depth,
  num_layers,
  size_of,
)
from jaxsep.conversion._speechbrain_transformer import (
  Only,
  check_only,
  defaults_of,
  feedforward,
  linear,
  norm,
  prepare,
  self_attention,
)

_NEPERS = math.log(10) / 10
_ENCODER = "Transformer.encoder.layers."
_DECODER = "Transformer.decoder.layers."
_CNN = "CNN.convblock_"
_ONLY: Only = {
  "encoder_module": ("conformer", "transformer"),
  "attention_type": ("RelPosMHAXL", "regularMHA"),
  "activation": ("GELU", "ReLU"),
  "conformer_activation": ("Swish", "Swish"),
  "normalize_before": (True, False),
  "causal": (False, True),
  "bias": (True, True),
  "norm_type": ("global", "global"),
  "mean_norm": (True, True),
  "std_norm": (True, True),
  "deltas": (False, False),
  "context": (False, False),
  "filter_shape": ("triangular", "triangular"),
  "f_min": (0, 0),
  "cnn_num_layers_per_block": (1, 5),
  "cnn_strides": (2, (1, 2, 2)),
  "cnn_residuals": (False, (True, True, True)),
  "cnn_activation": ("LeakyReLU", "LeakyReLU"),
  "blank_index": (0, 0),
  "bos_index": (1, 1),
  "eos_index": (2, 2),
}


def _sizes(weights, given):
  del given
  first = f"{_ENCODER}0."
  return {
    "tgt_vocab": size_of(weights, "ctc_lin.w.weight", 0),
    "d_model": size_of(weights, "Transformer.encoder.norm.norm.weight", 0),
    "nhead": size_of(weights, f"{first}mha_layer.pos_bias_u", 1),
    "d_ffn": size_of(weights, f"{first}ffn_module1.1.ffn.0.weight", 0),
    "kernel_size": size_of(
      weights, f"{first}convolution_module.conv.weight", 2
    ),
    "num_encoder_layers": num_layers(weights, _ENCODER),
    "num_decoder_layers": num_layers(weights, _DECODER),
    "cnn_out_channels": [
      size_of(weights, f"{_CNN}{i}.convs.conv_0.conv.weight", 0)
      for i in range(num_layers(weights, _CNN) or 0)
    ],
  }


def _build(args):
  check_only(args, _ONLY)
  check_depth(1, args["num_encoder_layers"] + args["num_decoder_layers"])
  rate = args["sample_rate"]
  if args.get("f_max") not in (None, rate / 2):
    raise ConversionError(
      f"f_max={args['f_max']!r} has no counterpart here: only {rate / 2:g}."
    )
  return models.Recognizer(
    num_tokens=args["tgt_vocab"],
    stft=dsp.Stft(
      n_fft=args["n_fft"],
      win_length=round(args["win_length"] * rate / 1000),
      hop_length=round(args["hop_length"] * rate / 1000),
      window="hamming",
    ),
    num_mels=args["n_mels"],
    sample_rate_hz=rate,
    symmetric_mels=True,
    top_db=80.0,
    normalization="global",
    conv_channels=tuple(args["cnn_out_channels"]),
    size=args["d_model"],
    num_layers=args["num_encoder_layers"],
    num_heads=args["nhead"],
    feedforward_size=args["d_ffn"],
    kernel_size=args["kernel_size"],
    num_decoder_layers=args["num_decoder_layers"],
    dropout=float(args["dropout"]),
  )


def _places(model):
  places = {
    "normalize.glob_mean": Place("constants.mean", change=_nepers),
    "normalize.glob_std": Place("constants.deviation", change=_nepers),
    **linear("Transformer.custom_src_module.layers.0.w", "joined"),
    "Transformer.custom_tgt_module.layers.0.emb.Embedding.weight": Place(
      "decoder.embedding.embedding", "ab"
    ),
    **norm("Transformer.encoder.norm.norm", "encoder_norm"),
    **norm("Transformer.decoder.norm.norm", "decoder.norm"),
    **linear("ctc_lin.w", "ctc_head"),
    **linear("seq_lin.w", "decoder_head"),
  }
  for index in range(len(model.conv_channels)):
    theirs, ours = f"{_CNN}{index}.convs", f"subsampling_{index}"
    # Bands before frames, ours frames before bands.
    places |= linear(f"{theirs}.conv_0.conv", f"{ours}.conv", "dcba")
    places |= norm(f"{theirs}.norm_0.norm", f"{ours}.norm", "ab")
  for index in range(model.num_layers):
    theirs, ours = f"{_ENCODER}{index}", f"encoder_{index}"
    places |= _conformer_places(theirs, ours, model.num_heads)
  for index in range(model.num_decoder_layers):
    theirs, ours = f"{_DECODER}{index}", f"decoder.layers_{index}"
    cross = f"{theirs}.multihead_attn.att"
    places |= {
      **self_attention(f"{theirs}.self_attn.att", ours),
      **feedforward(f"{theirs}.pos_ffn", f"{ours}.feedforward"),
      **norm(f"{theirs}.norm1.norm", f"{ours}.attention_norm"),
      **norm(f"{theirs}.norm2.norm", f"{ours}.memory_norm"),
      **norm(f"{theirs}.norm3.norm", f"{ours}.feedforward_norm"),
      **linear(f"{cross}.query_", f"{ours}.memory_query", separator=""),
      **linear(f"{cross}.memory_", f"{ours}.memory_key_value", separator=""),
      **linear(f"{cross}.out_proj", f"{ours}.memory_out"),
    }
  return places


def _conformer_places(theirs, ours, num_heads):
  """Those of one layer of the encoder."""
  attention, conv = f"{theirs}.mha_layer", f"{theirs}.convolution_module"

  def interleaved(weight):
    # Theirs has queries, keys and values of one head after another.
    parts = weight.reshape(num_heads, 3, -1, weight.shape[1])
    parts = parts.swapaxes(0, 1).copy()
    parts[0] /= math.sqrt(num_heads)
    return parts.reshape(weight.shape)

  def bias(weight):
    # Theirs is `[k, H]` but is read as `[H, k]`.
    return weight.reshape(num_heads, -1).T / math.sqrt(num_heads)

  inner = f"{ours}.attention"
  return {
    f"{attention}.in_proj_weight": Place(
      f"{inner}.query_key_value.kernel", "ba", change=interleaved
    ),
    f"{attention}.pos_bias_u": Place(f"{inner}.content_bias", "ba", ..., bias),
    f"{attention}.pos_bias_v": Place(f"{inner}.position_bias", "ba", ..., bias),
    f"{attention}.linear_pos.weight": Place(f"{inner}.position.kernel", "ba"),
    **linear(f"{attention}.out_proj", f"{inner}.out"),
    **norm(f"{theirs}.norm1.norm", f"{ours}.attention_norm"),
    **norm(f"{conv}.layer_norm", f"{ours}.conv_norm"),
    **linear(f"{conv}.bottleneck.0", f"{ours}.conv.expand", "ba1"),
    f"{conv}.conv.weight": Place(f"{ours}.conv.kernel", "b1a"),
    f"{conv}.conv.bias": Place(f"{ours}.conv.bias"),
    **norm(f"{conv}.after_conv.0", f"{ours}.conv.norm"),
    **linear(f"{conv}.after_conv.2", f"{ours}.conv.out"),
    **norm(f"{theirs}.ffn_module1.0", f"{ours}.feedforward_first_norm"),
    **feedforward(f"{theirs}.ffn_module1.1", f"{ours}.feedforward_first"),
    **norm(f"{theirs}.ffn_module2.0", f"{ours}.feedforward_norm"),
    **feedforward(f"{theirs}.ffn_module2.1", f"{ours}.feedforward"),
    **norm(f"{theirs}.norm2.norm", f"{ours}.norm"),
  }


def _nepers(decibels):
  return decibels * _NEPERS


RECOGNIZER = Architecture(
  peer="SpeechBrain",
  name="TransformerASR",
  signs=("Transformer.",),
  defaults={
    "n_fft": 400,
    "n_mels": 40,
    "win_length": 25,
    "hop_length": 10,
    "dropout": 0.1,
    **defaults_of(_ONLY),
  },
  counts=(
    "tgt_vocab",
    "d_model",
    "nhead",
    "d_ffn",
    "kernel_size",
    "num_encoder_layers",
    "num_decoder_layers",
    "n_fft",
    "n_mels",
    "sample_rate",
  ),
  # Those that the weights tell too, or that matter in training alone.
  others=(
    "f_max",
    "input_size",
    "cnn_input_shape",
    "cnn_num_blocks",
    "cnn_out_channels",
    "cnn_kernel_sizes",
    "cnn_norm",
    "cnn_dropout",
    "max_length",
    "positional_encoding",
    "layerdrop_prob",
    "output_hidden_states",
    "requires_grad",
    "update_until_epoch",
    "avg_factor",
    "length_dim",
    "avoid_padding_norm",
    "epsilon",
  ),
  sizes=_sizes,
  build=_build,
  places=_places,
  task="recognition",
  prepare=prepare,
)
