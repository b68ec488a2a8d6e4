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
