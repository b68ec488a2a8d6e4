"""Models of Asteroid and SpeechBrain, and the estimates they gave there."""

import pathlib

import jax
import numpy as np
import pytest
import torch

from jaxsep import conversion

REFERENCE = pathlib.Path(__file__).parent / "reference"
# The arguments of some checkpoints that their weights do not tell.
UNTOLD = {
  "asteroid_global.pth": {
    "n_blocks": 2,
    "stride": 8,
    "norm_type": "gLN",
    "mask_act": "sigmoid",
    "encoder_activation": None,
  },
  "asteroid_dptnet.pth": {
    "n_heads": 2,
    "chunk_size": 10,
    "hop_size": None,
    "stride": 8,
    "norm_type": "gLN",
    "ff_activation": "relu",
    "encoder_activation": "relu",
    "mask_act": "relu",
  },
  "speechbrain": {
    "norm_type": "gLN",
    "causal": False,
    "mask_nonlinear": "relu",
  },
}


def read(name):
  """Weights in a file of Asteroid or a folder of SpeechBrain."""
  path = REFERENCE / name
  if path.is_file():
    parts = {"": torch.load(path, weights_only=False)["state_dict"]}
  else:
    parts = {
      f"{part}.": torch.load(path / f"{part}.ckpt", weights_only=True)
      for part in ("encoder", "masknet", "decoder")
    }
  return {
    prefix + key: value.numpy()
    for prefix, weights in parts.items()
    for key, value in weights.items()
  }


def convert(name, weights=None, **changed):
  return conversion.convert(
    weights or read(name),
    sample_rate_hz=8000,
    arguments=UNTOLD[name] | changed,
  )


@pytest.mark.parametrize(
  ("name", "peer", "rate", "lengths"),
  [
    ("asteroid_global.pth", "Asteroid", 16_000, (203, 128)),
    ("asteroid_cumulative.pth", "Asteroid", 8_000, (203,)),
    ("asteroid_channel.pth", "Asteroid", 8_000, (203,)),
    ("asteroid_dptnet.pth", "Asteroid", 8_000, (203, 128)),
    ("asteroid_dptnet_forward.pth", "Asteroid", 8_000, (203,)),
    ("speechbrain", "SpeechBrain", 8_000, (203, 128)),
    ("speechbrain_causal", "SpeechBrain", 8_000, (203,)),
  ],
)
def test_converted_models_equal_the_peers(name, peer, rate, lengths):
  found = conversion.convert(REFERENCE / name)
  assert (found.peer, found.sample_rate_hz) == (peer, rate)
  arrays = np.load(REFERENCE / "estimates.npz")
  apply = jax.jit(found.model.apply)
  for length in lengths:
    estimate = apply(found.variables, arrays[f"mixture/{length}"])
    expected = arrays[f"{name}/{length}"]
    assert estimate.shape == expected.shape
    error = np.abs(estimate - expected).max() / np.abs(expected).max()
    assert error < 1e-5


@pytest.mark.parametrize("name", UNTOLD)
def test_sizes_are_read_off_the_weights(name):
  full, told = conversion.convert(REFERENCE / name), convert(name)
  assert told.model == full.model
  jax.tree.map(np.testing.assert_array_equal, told.variables, full.variables)


def test_causal_norm_is_the_one_that_asteroid_puts_there(tmp_path):
  path = REFERENCE / "asteroid_cumulative.pth"
  content = torch.load(path, weights_only=False)
  content["model_args"]["norm_type"] = "gLN"
  torch.save(content, tmp_path / "some.pth")
  found = conversion.convert(tmp_path / "some.pth")
  assert found.model.masker.norm == "channel"


@pytest.mark.parametrize(
  ("name", "gaps"),
  [
    (
      "asteroid_global.pth",
      "n_blocks, n_repeats, norm_type, mask_act, stride, encoder_activation",
    ),
    (
      "asteroid_dptnet.pth",
      "n_heads, chunk_size, hop_size, stride, norm_type, ff_activation",
    ),
    ("speechbrain", "norm_type, causal, mask_nonlinear"),
  ],
)
def test_says_which_arguments_it_needs(name, gaps):
  with pytest.raises(conversion.ConversionError, match=f"not say {gaps}"):
    conversion.convert(read(name), sample_rate_hz=8000)


def test_lists_what_is_missing_left_over_of_wrong_shape_and_not_finite():
  weights = read("asteroid_global.pth")
  for index in range(2):
    del weights[f"masker.TCN.{index}.res_conv.weight"]
  for kind in ("gamma", "beta"):
    del weights[f"masker.TCN.2.shared_block.2.{kind}"]
  del weights["masker.bottleneck.0.beta"]
  weights["masker.extra"] = np.zeros(3)
  weights["masker.bottleneck.0.gamma"] = np.zeros(7)
  weights["masker.mask_net.1.bias"][3] = np.nan
  with pytest.raises(conversion.ConversionError) as error:
    convert("asteroid_global.pth", weights)
  first, missing, left_over, shape, infinite = error.value.lines
  assert "do not fit Asteroid's ConvTasNet" in first
  assert missing == (
    "missing: masker.bottleneck.0.beta, masker.TCN.0.res_conv.weight, "
    "masker.TCN.1.res_conv.weight, masker.TCN.2.shared_block.2.gamma and 1 more"
  )
  assert left_over == "left over: masker.extra"
  assert shape == "wrong shape: masker.bottleneck.0.gamma is [7], not [12]"
  assert infinite == "not finite: masker.mask_net.1.bias"


@pytest.mark.parametrize(
  ("name", "changed", "message"),
  [
    ("asteroid_global.pth", {"norm_type": "BN"}, "norm_type='BN' has no"),
    ("asteroid_global.pth", {"norm_type": ["gLN"]}, "norm_type="),
    ("asteroid_global.pth", {"mask_act": "swish"}, "mask_act='swish' has no"),
    ("asteroid_global.pth", {"encoder_activation": "softmax"}, "='softmax'"),
    ("asteroid_global.pth", {"fb_name": "STFTFB"}, "fb_name='STFTFB' has no"),
    ("asteroid_global.pth", {"stride": 4}, "stride=4 with kernel_size=16"),
    ("asteroid_global.pth", {"out_chan": 24}, "out_chan=24 has no"),
    ("asteroid_global.pth", {"who_is_pinv": "decoder"}, "who_is_pinv has no"),
    ("asteroid_global.pth", {"n_repeats": 0}, "n_repeats cannot be 0"),
    ("asteroid_global.pth", {"n_filters": "many"}, "n_filters cannot be 'many"),
    ("asteroid_global.pth", {"n_filters": 10**9}, "cannot be 1000000000"),
    ("asteroid_global.pth", {"n_blocks": 3}, "4 blocks are no whole"),
    ("asteroid_global.pth", {"causal": "yes"}, "causal='yes'"),
    ("asteroid_global.pth", {"skip_chan": -1}, "skip_channels .* not -1"),
    ("asteroid_global.pth", {"conv_kernel_size": 4}, "kernel_size .* not 4"),
    (
      "asteroid_global.pth",
      {"hid_chan": 11},
      r"wrong shape: .* not \[11, 6, 1\]",
    ),
    ("asteroid_dptnet.pth", {"ff_activation": "tanh"}, "ff_activation='tanh'"),
    ("asteroid_dptnet.pth", {"norm_type": "cgLN"}, "norm_type='cgLN' has no"),
    ("asteroid_dptnet.pth", {"hop_size": 3}, "hop_size=3 with chunk_size=10"),
    ("asteroid_dptnet.pth", {"chunk_size": 9}, "chunk_length .* not 9"),
    ("asteroid_dptnet.pth", {"n_heads": 3}, "num_heads must divide"),
    ("asteroid_dptnet.pth", {"bidirectional": None}, "bidirectional=None"),
    (
      "asteroid_dptnet.pth",
      {"bidirectional": False},
      "left over: masker.layer",
    ),
    ("speechbrain", {"mask_nonlinear": "softmax"}, "mask_nonlinear='softmax'"),
    ("speechbrain", {"norm_type": "batchnorm"}, "norm_type='batchnorm' has no"),
    ("speechbrain", {"P": 4}, "P=4 has no"),
    ("speechbrain", {"X": 40}, "2 repeats of 40 blocks cannot be"),
    ("speechbrain", {"N": 0}, "N cannot be 0"),
    ("speechbrain", {"depth": 3}, "depth has no counterpart"),
    ("speechbrain", {"R": 3}, "missing: .*temporalblock_2_0"),
    ("speechbrain", {"R": 1}, "left over: .*temporalblock_1_0"),
  ],
)
def test_refuses_what_a_model_here_cannot_be(name, changed, message):
  with pytest.raises(conversion.ConversionError, match=message):
    convert(name, **changed)
