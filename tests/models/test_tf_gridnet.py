"""TF-GridNet against PyTorch; `test_separators.py` has the laws."""

import jax
import numpy as np
import pytest
import torch
from random_params import random_params
from tf_gridnet_torch import TFGridNetTorch

from jaxsep.dsp import Stft
from jaxsep.models import TFGridNet


def _layer(layer, unfold):
  lstm = layer.lstm
  kernels, biases = [], []
  for end in ("", "_reverse"):
    of_input = getattr(lstm, f"weight_ih_l0{end}")
    of_state = getattr(lstm, f"weight_hh_l0{end}")
    kernels.append(torch.cat([of_input, of_state], dim=1).T)
    biases.append(
      getattr(lstm, f"bias_ih_l0{end}") + getattr(lstm, f"bias_hh_l0{end}")
    )
  return {
    "norm": {"scale": layer.norm.weight, "bias": layer.norm.bias},
    "lstm": {"kernel": torch.stack(kernels), "bias": torch.stack(biases)},
    # [2 H, D, I] to [2 H, I D].
    "linear": {"kernel": layer.deconv.weight.transpose(1, 2).flatten(1)},
    "bias": layer.deconv.bias,
  }


def _heads(name, heads):
  convs = [head.conv for head in heads]
  norms = [head.norm for head in heads]
  return {
    name: {
      "kernel": torch.cat([conv.weight[:, :, 0, 0].T for conv in convs], 1),
      "bias": torch.cat([conv.bias for conv in convs]),
    },
    f"{name}_norm": {
      "slope": torch.stack([head.slope.weight for head in heads]),
      "scale": torch.stack([norm.weight for norm in norms], dim=1),
      "bias": torch.stack([norm.bias for norm in norms], dim=1),
    },
  }


def _variables(net, unfold):
  # Of the neighbours, rows come before columns, and both before features.
  forward = net.input.weight.permute(2, 3, 1, 0).flatten(0, 2)
  back = net.output.weight.flip(2, 3).permute(2, 3, 0, 1).flatten(0, 2)
  params = {
    "input": {"kernel": forward, "bias": net.input.bias},
    "input_norm": {"norm": {"scale": net.norm.weight, "bias": net.norm.bias}},
    "output": {"kernel": back, "bias": net.output.bias},
  }
  for index, block in enumerate(net.blocks):
    parts = {}
    for name in ("intra", "inter"):
      layer = _layer(getattr(block, name), unfold)
      parts |= {f"{name}_{part}": value for part, value in layer.items()}
    for name, heads in block.heads.items():
      parts |= _heads(name, heads)
    parts |= _heads("joined", [block.joined])
    params[f"block_{index}"] = parts
  return {"params": jax.tree.map(lambda x: x.detach().numpy(), params)}


@pytest.mark.parametrize(("unfold", "stride"), [(4, 4), (4, 2), (3, 1)])
def test_equals_pytorch(unfold, stride):
  torch.manual_seed(0)
  net = TFGridNetTorch(2, 32, 16, 8, 2, 6, unfold, stride, 2, key=3)
  for value in net.parameters():
    torch.nn.init.normal_(value, std=0.3)
  model = TFGridNet(
    stft=Stft(n_fft=32, hop_length=16, window="sqrt_hann"),
    feature_size=8,
    num_blocks=2,
    hidden_size=6,
    unfold=unfold,
    stride=stride,
    num_heads=2,
    key_size=51,
  )
  mixture = np.random.default_rng(0).standard_normal((2, 203), np.float32)
  variables = _variables(net, unfold)
  shapes = random_params(model, mixture)
  assert jax.tree.map(np.shape, variables) == jax.tree.map(np.shape, shapes)
  estimate = jax.jit(model.apply)(variables, mixture)
  expected = net(torch.from_numpy(mixture)).detach().numpy()
  np.testing.assert_allclose(estimate, expected, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize(
  "options", [{"unfold": 4, "stride": 3}, {"feature_size": 6}]
)
def test_impossible_options(options):
  model = TFGridNet(**options)
  with pytest.raises(ValueError, match="must be a multiple"):
    jax.eval_shape(model.init, jax.random.key(0), **model.example_inputs())
