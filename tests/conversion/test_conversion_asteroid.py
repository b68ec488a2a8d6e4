"""Asteroid's models, as Asteroid itself writes and runs them."""

import pathlib

import jax
import numpy as np
import pytest
import torch

from jaxsep import conversion, models

REFERENCE = pathlib.Path(__file__).parent / "reference"
# Sizes of asteroid_global.pth, as far as its weights do not tell them.
UNTOLD = {
  "n_blocks": 2,
  "stride": 8,
  "norm_type": "gLN",
  "mask_act": "sigmoid",
  "encoder_activation": None,
}


def read(name):
  """Weights and arguments in a file of Asteroid."""
  content = torch.load(REFERENCE / name, weights_only=False)
  weights = {key: value.numpy() for key, value in content["state_dict"].items()}
  return weights, content["model_args"]


def outputs(model, params, length):
  arrays = np.load(REFERENCE / "estimates.npz")
  mixture = arrays[f"mixture/{length}"]
  return jax.jit(model.apply)({"params": params}, mixture)


def assert_equals_peer(estimate, name, length):
  expected = np.load(REFERENCE / "estimates.npz")[f"{name}/{length}"]
  assert estimate.shape == expected.shape
  error = np.abs(estimate - expected).max() / np.abs(expected).max()
  assert error < 1e-5


# Reference.


@pytest.mark.parametrize("length", [203, 128])
@pytest.mark.parametrize(
  "name",
  ["asteroid_global.pth", "asteroid_cumulative.pth", "asteroid_channel.pth"],
)
def test_conv_tasnet_equals_asteroids(name, length):
  weights, arguments = read(name)
  model, params = conversion.conv_tasnet_from_asteroid(weights, arguments)
  assert_equals_peer(outputs(model, params, length), name, length)


@pytest.mark.parametrize("length", [203, 128])
@pytest.mark.parametrize(
  "name", ["asteroid_dptnet.pth", "asteroid_dptnet_forward.pth"]
)
def test_dptnet_equals_asteroids(name, length):
  weights, arguments = read(name)
  model, params = conversion.dptnet_from_asteroid(weights, arguments)
  assert_equals_peer(outputs(model, params, length), name, length)


# Laws.


def test_sizes_are_read_off_the_weights():
  weights, arguments = read("asteroid_global.pth")
  full, _ = conversion.conv_tasnet_from_asteroid(weights, arguments)
  told, _ = conversion.conv_tasnet_from_asteroid(weights, UNTOLD)
  assert told == full
  assert told.num_sources == 3
  assert told.masker.num_repeats == 2


def test_sizes_of_a_dptnet_are_read_off_the_weights():
  weights, arguments = read("asteroid_dptnet_forward.pth")
  full, _ = conversion.dptnet_from_asteroid(weights, arguments)
  names = (
    "n_heads",
    "chunk_size",
    "norm_type",
    "ff_activation",
    "mask_act",
    "encoder_activation",
    "stride",
    "hop_size",
  )
  told, _ = conversion.dptnet_from_asteroid(
    weights, {name: arguments[name] for name in names}
  )
  assert told == full
  assert not told.inter_bidirectional


def test_old_files_have_asteroids_defaults():
  weights, _ = read("asteroid_global.pth")
  model, _ = conversion.conv_tasnet_from_asteroid(
    weights, {"n_blocks": 2}, complete=True
  )
  assert model.masker.norm == "global"
  assert model.masker.mask_activation == "sigmoid"
  assert model.encoder_activation is None


def test_causal_norm_is_the_one_that_asteroid_puts_there():
  weights, arguments = read("asteroid_cumulative.pth")
  model, _ = conversion.conv_tasnet_from_asteroid(
    weights, {**arguments, "norm_type": "gLN"}
  )
  assert isinstance(model, models.ConvTasNet)
  assert model.masker.norm == "channel"


# Failures.


def test_lists_what_is_missing_left_over_of_wrong_shape_and_not_finite():
  weights, arguments = read("asteroid_global.pth")
  for index in range(2):
    del weights[f"masker.TCN.{index}.res_conv.weight"]
  for kind in ("gamma", "beta"):
    del weights[f"masker.TCN.2.shared_block.2.{kind}"]
  del weights["masker.bottleneck.0.beta"]
  weights["masker.extra"] = np.zeros(3)
  weights["masker.bottleneck.0.gamma"] = np.zeros(7)
  weights["masker.mask_net.1.bias"][3] = np.nan
  with pytest.raises(conversion.ConversionError) as error:
    conversion.conv_tasnet_from_asteroid(weights, arguments)
  first, missing, left_over, shape, infinite = error.value.lines
  assert "do not fit Asteroid's ConvTasNet" in first
  assert missing == (
    "missing: masker.bottleneck.0.beta, masker.TCN.0.res_conv.weight, "
    "masker.TCN.1.res_conv.weight, masker.TCN.2.shared_block.2.gamma and 1 more"
  )
  assert left_over == "left over: masker.extra"
  assert shape == "wrong shape: masker.bottleneck.0.gamma is [7], not [12]"
  assert infinite == "not finite: masker.mask_net.1.bias"


def test_arguments_are_checked_against_the_weights():
  weights, arguments = read("asteroid_global.pth")
  with pytest.raises(conversion.ConversionError) as error:
    conversion.conv_tasnet_from_asteroid(weights, {**arguments, "hid_chan": 11})
  assert error.value.lines[1].startswith(
    "wrong shape: masker.TCN.0.shared_block.0.weight is [10, 6, 1], not "
    "[11, 6, 1], "
  )


@pytest.mark.parametrize(
  ("name", "convert", "gaps"),
  [
    (
      "asteroid_global.pth",
      conversion.conv_tasnet_from_asteroid,
      "n_blocks, n_repeats, norm_type, mask_act, stride, encoder_activation",
    ),
    (
      "asteroid_dptnet.pth",
      conversion.dptnet_from_asteroid,
      "n_heads, chunk_size, hop_size, stride, norm_type, ff_activation",
    ),
  ],
)
def test_says_which_arguments_it_needs(name, convert, gaps):
  weights, _ = read(name)
  with pytest.raises(conversion.ConversionError, match=f"not say {gaps}"):
    convert(weights)
  del weights["encoder.filterbank._filters"]
  with pytest.raises(conversion.ConversionError, match="n_src, n_filters, k"):
    convert(weights)


@pytest.mark.parametrize(
  ("changed", "message"),
  [
    ({"norm_type": "BN"}, "norm_type='BN' has no counterpart"),
    ({"norm_type": "fgLN"}, "norm_type='fgLN' has no counterpart"),
    ({"norm_type": ["gLN"]}, "norm_type="),
    ({"mask_act": "swish"}, "mask_act='swish' has no counterpart"),
    ({"encoder_activation": "softmax"}, "encoder_activation='softmax'"),
    ({"fb_name": "STFTFB"}, "fb_name='STFTFB' has no counterpart"),
    ({"stride": 4}, "stride=4 with kernel_size=16 has no counterpart"),
    ({"out_chan": 24}, "out_chan=24 has no counterpart"),
    ({"who_is_pinv": "decoder"}, "who_is_pinv has no counterpart"),
    ({"n_blocks": 2, "n_repeats": 0}, "n_repeats cannot be 0"),
    ({"n_filters": "many"}, "n_filters cannot be 'many'"),
    ({"n_filters": 10**9}, "n_filters cannot be 1000000000"),
    ({"n_blocks": 500}, "4 blocks are no whole"),
    ({"causal": "yes"}, "causal='yes'"),
    ({"skip_chan": -1}, "skip_chan cannot be -1"),
    ({"conv_kernel_size": 4}, "conv_kernel_size=4"),
  ],
)
def test_refuses_what_a_conv_tasnet_here_cannot_be(changed, message):
  weights, arguments = read("asteroid_global.pth")
  with pytest.raises(conversion.ConversionError, match=message):
    conversion.conv_tasnet_from_asteroid(weights, {**arguments, **changed})


def test_refuses_a_part_of_a_repeat():
  weights, _ = read("asteroid_global.pth")
  with pytest.raises(conversion.ConversionError, match="4 blocks are no whole"):
    conversion.conv_tasnet_from_asteroid(weights, {**UNTOLD, "n_blocks": 3})


@pytest.mark.parametrize(
  ("changed", "message"),
  [
    ({"ff_activation": "tanh"}, "ff_activation='tanh' has no counterpart"),
    ({"norm_type": "cgLN"}, "norm_type='cgLN' has no counterpart"),
    ({"hop_size": 3}, "hop_size=3 with chunk_size=10"),
    ({"chunk_size": 9, "hop_size": 4}, "chunk_size=9"),
    ({"n_heads": 3}, "n_heads=3 with n_filters=4"),
    ({"dropout": 2}, "dropout cannot be 2"),
    ({"bidirectional": None}, "bidirectional=None"),
    ({"bidirectional": False}, "left over: masker.layers.0.1.recurrent"),
  ],
)
def test_refuses_what_a_dptnet_here_cannot_be(changed, message):
  weights, arguments = read("asteroid_dptnet.pth")
  with pytest.raises(conversion.ConversionError, match=message):
    conversion.dptnet_from_asteroid(weights, {**arguments, **changed})
