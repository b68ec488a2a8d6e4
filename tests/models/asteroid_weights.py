"""Names of Asteroid's ConvTasNet parameters in terms of ours."""

import re
from collections.abc import Mapping

import numpy as np

_NORM = {"gamma": "norm_scale", "beta": "norm_bias"}
_BLOCK = re.compile(r"masker\.TCN\.(\d+)\.(.+)")


def from_asteroid(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Renames and reshapes a state dictionary.

  Args:
    weights: Asteroid's `state_dict()` as arrays.

  Returns:
    Our parameters by dotted name. Kernels are `[inputs, outputs]`, and the
    residual and the skip convolution of a block stand side by side.
  """
  params = {}
  for name, value in weights.items():
    if match := _BLOCK.fullmatch(name):
      index, rest = match.groups()
      _add_block_weight(params, f"masker.block_{index}.", rest, value)
    else:
      ours, change = _OTHERS[name]
      params[ours] = change(value)
  for name in [name for name in params if name.endswith(".residual_kernel")]:
    heads = name.removesuffix(".residual_kernel")
    for kind in ("kernel", "bias"):
      parts = [params.pop(f"{heads}.{head}_{kind}") for head in _HEADS.values()]
      params[f"{heads}.{kind}"] = np.concatenate(parts, axis=-1)
  return params


_HEADS = {"res_conv": "residual", "skip_conv": "skip"}


def _add_block_weight(params, block, name, value):
  *layer, kind = name.split(".")
  if layer[0] in _HEADS:
    ours = f"heads.{_HEADS[layer[0]]}_{'kernel' if kind == 'weight' else kind}"
    params[block + ours] = _kernel(value) if kind == "weight" else value
    return
  # shared_block: conv, PReLU, norm, depthwise conv (within a Sequential of
  # its own when causal), PReLU, norm.
  position = int(layer[1])
  stage = "expand" if position < 3 else "depthwise"
  if kind in _NORM:
    params[f"{block}{stage}.{_NORM[kind]}"] = value
  elif kind == "bias":
    params[f"{block}{stage}.bias"] = value
  elif value.size == 1:
    params[f"{block}{stage}.slope"] = value.reshape(())
  elif stage == "expand":
    params[f"{block}expand.kernel"] = _kernel(value)
  else:
    params[f"{block}depthwise.kernel"] = value[:, 0].T


def _kernel(weight):
  """The weight of a 1x1 convolution as a matrix."""
  return weight[:, :, 0].T


def _same(value):
  return value


_OTHERS = {
  "encoder.filterbank._filters": ("encoder.kernel", lambda w: w[:, 0].T),
  "decoder.filterbank._filters": ("decoder.kernel", lambda w: w[:, 0]),
  "masker.bottleneck.0.gamma": ("masker.norm.scale", _same),
  "masker.bottleneck.0.beta": ("masker.norm.bias", _same),
  "masker.bottleneck.1.weight": ("masker.bottleneck.kernel", _kernel),
  "masker.bottleneck.1.bias": ("masker.bottleneck.bias", _same),
  "masker.mask_net.0.weight": ("masker.mask_slope", lambda w: w.reshape(())),
  "masker.mask_net.1.weight": ("masker.mask.kernel", _kernel),
  "masker.mask_net.1.bias": ("masker.mask.bias", _same),
}


def dptnet_from_asteroid(
  weights: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
  """Renames and reshapes a state dictionary of Asteroid's DPTNet.

  Args:
    weights: Its `state_dict()` as arrays; the filters of the inputs divide
      evenly into the heads.

  Returns:
    Parameters by dotted name of `DPTNet(project_features=False,
    chunk_padding="chunk", divide_overlap=True, norm="global" or "channel")`.
  """
  params = {ours: change(weights[name]) for name, (ours, change) in _DPT}
  for kind, change in (("weight", _kernel), ("bias", _same)):
    heads = [f"masker.net_{head}.0.{kind}" for head in ("out", "gate")]
    params[f"gated.{'kernel' if kind == 'weight' else kind}"] = np.concatenate(
      [change(weights[head]) for head in heads], axis=-1
    )
  used = {name for name, _ in _DPT} | {
    name for name in weights if name.startswith("masker.net_")
  }
  layers = {
    match.group()
    for name in weights
    if (match := re.match(r"masker\.layers\.\d+\.\d\.", name))
  }
  for layer in layers:
    block, way = layer.split(".")[2:4]
    own = {
      name.removeprefix(layer): value
      for name, value in weights.items()
      if name.startswith(layer)
    }
    used |= {layer + name for name in own}
    ours = f"block_{block}.{('intra', 'inter')[int(way)]}."
    params |= {ours + name: v for name, v in transformer(own).items()}
  if left_over := weights.keys() - used:
    raise ValueError(f"no place for {sorted(left_over)}")
  return params


def transformer(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """The parameters of one layer: attention, LSTM, linear layer, norms."""
  ends = [""]
  if "recurrent.weight_ih_l0_reverse" in weights:
    ends.append("_reverse")
  # Inputs over states; PyTorch has two biases that are always added.
  kernels = [
    np.concatenate(
      [weights[f"recurrent.weight_{part}_l0{end}"] for part in ("ih", "hh")],
      axis=1,
    ).T
    for end in ends
  ]
  biases = [
    weights[f"recurrent.bias_ih_l0{end}"]
    + weights[f"recurrent.bias_hh_l0{end}"]
    for end in ends
  ]
  return {
    "attention.query_key_value.kernel": weights["mha.in_proj_weight"].T,
    "attention.query_key_value.bias": weights["mha.in_proj_bias"],
    "attention.out.kernel": weights["mha.out_proj.weight"].T,
    "attention.out.bias": weights["mha.out_proj.bias"],
    "attention_norm.scale": weights["norm_mha.gamma"],
    "attention_norm.bias": weights["norm_mha.beta"],
    "lstm.kernel": np.stack(kernels),
    "lstm.bias": np.stack(biases),
    "linear.kernel": weights["linear.weight"].T,
    "linear.bias": weights["linear.bias"],
    "linear_norm.scale": weights["norm_ff.gamma"],
    "linear_norm.bias": weights["norm_ff.beta"],
  }


_DPT = [
  ("encoder.filterbank._filters", ("encoder.kernel", lambda w: w[:, 0].T)),
  ("decoder.filterbank._filters", ("decoder.kernel", lambda w: w[:, 0])),
  ("masker.in_norm.gamma", ("input_norm.scale", _same)),
  ("masker.in_norm.beta", ("input_norm.bias", _same)),
  ("masker.first_out.0.weight", ("slope", lambda w: w.reshape(()))),
  ("masker.first_out.1.weight", ("sources.kernel", lambda w: w[:, :, 0, 0].T)),
  ("masker.first_out.1.bias", ("sources.bias", _same)),
]
