"""SpeechBrain's ConvTasNet, as SpeechBrain itself writes and runs it."""

import pathlib

import jax
import numpy as np
import pytest
import torch

from jaxsep import conversion

REFERENCE = pathlib.Path(__file__).parent / "reference"
UNTOLD = {"norm_type": "gLN", "causal": False, "mask_nonlinear": "relu"}


def read(name):
  """Weights in a folder of SpeechBrain."""
  weights = {}
  for part in ("encoder", "masknet", "decoder"):
    content = torch.load(REFERENCE / name / f"{part}.ckpt", weights_only=True)
    weights |= {
      f"{part}.{key}": value.numpy() for key, value in content.items()
    }
  return weights


# Reference.


@pytest.mark.parametrize("length", [203, 128])
@pytest.mark.parametrize(
  ("name", "options"),
  [
    ("speechbrain", UNTOLD),
    ("speechbrain_causal", {**UNTOLD, "norm_type": "cLN", "causal": True}),
  ],
)
def test_equals_speechbrains(name, options, length):
  model, params = conversion.conv_tasnet_from_speechbrain(read(name), options)
  arrays = np.load(REFERENCE / "estimates.npz")
  expected = arrays[f"{name}/{length}"]
  estimate = jax.jit(model.apply)(
    {"params": params}, arrays[f"mixture/{length}"]
  )
  assert estimate.shape == expected.shape
  error = np.abs(estimate - expected).max() / np.abs(expected).max()
  assert error < 1e-5


# Edges.


@pytest.mark.parametrize("name", ["speechbrain", "speechbrain_causal"])
@pytest.mark.parametrize("length", [1, 5, 16, 17])
def test_short_mixtures(name, length):
  options = {**UNTOLD, "causal": name.endswith("causal")}
  model, params = conversion.conv_tasnet_from_speechbrain(read(name), options)
  mixture = jax.random.normal(jax.random.key(0), (1, length))
  estimate = model.apply({"params": params}, mixture)
  assert estimate.shape == (1, 2, length)
  assert np.isfinite(estimate).all()


# Failures.


def test_says_which_arguments_it_needs():
  with pytest.raises(
    conversion.ConversionError, match="norm_type, causal, mask_nonlinear"
  ):
    conversion.conv_tasnet_from_speechbrain(read("speechbrain"))


def test_lists_what_is_missing_and_left_over():
  weights = read("speechbrain")
  weights["masknet.other"] = weights.pop("decoder.weight")
  with pytest.raises(conversion.ConversionError) as error:
    conversion.conv_tasnet_from_speechbrain(weights, UNTOLD)
  assert error.value.lines[1:] == (
    "missing: decoder.weight",
    "left over: masknet.other",
  )


@pytest.mark.parametrize(
  ("changed", "message"),
  [
    ({"mask_nonlinear": "softmax"}, "mask_nonlinear='softmax'"),
    ({"norm_type": "batchnorm"}, "norm_type='batchnorm' has no counterpart"),
    ({"stride": 4}, "stride=4 with kernel_size=16"),
    ({"P": 4}, "P=4, X=2, R=2 cannot be"),
    ({"X": 40}, "P=3, X=40, R=2 cannot be"),
    ({"N": 0}, "N cannot be 0"),
    ({"depth": 3}, "depth has no counterpart"),
    ({"H": 11}, r"wrong shape: .*conv\.conv\.weight is \[10, 6, 1\]"),
    ({"R": 3}, "missing: masknet.temporal_conv_net.temporalblock_2_0"),
    ({"R": 1}, "left over: masknet.temporal_conv_net.temporalblock_1_0"),
  ],
)
def test_refuses_what_a_conv_tasnet_here_cannot_be(changed, message):
  with pytest.raises(conversion.ConversionError, match=message):
    conversion.conv_tasnet_from_speechbrain(
      read("speechbrain"), {**UNTOLD, **changed}
    )
