"""`jaxsep convert`, from a peer's file to a model that separates."""

import pathlib

import jax
import numpy as np
import pytest
import torch

import jaxsep
from jaxsep import cli

REFERENCE = pathlib.Path(__file__).parents[1] / "conversion" / "reference"


@pytest.fixture
def convert(tmp_path, capsys):
  """Runs the command; returns exit code, stdout and stderr lines."""

  def call(checkpoint, *words):
    words = ("convert", str(checkpoint), *words)
    code = cli.main([*words, f"--output_dir={tmp_path}/out"])
    printed = capsys.readouterr()
    return code, printed.out.splitlines(), printed.err.splitlines()

  return call


@pytest.mark.parametrize(
  "name", ["asteroid_global.pth", "asteroid_dptnet.pth", "speechbrain"]
)
def test_written_model_equals_the_peers(convert, tmp_path, name):
  code, lines, errors = convert(REFERENCE / name)
  assert (code, errors) == (0, [])
  assert f"folder          {tmp_path}/out" in lines
  loaded = jaxsep.load(tmp_path / "out")
  assert loaded.metadata["checkpoint"] == name
  arrays = np.load(REFERENCE / "estimates.npz")
  estimate = jax.jit(loaded.model.apply)(
    loaded.variables, arrays["mixture/203"]
  )
  expected = arrays[f"{name}/203"]
  assert np.abs(estimate - expected).max() < 1e-5 * np.abs(expected).max()


def test_arguments_by_flags(convert, tmp_path):
  folder = tmp_path / "model"
  folder.mkdir()
  for part in ("encoder", "masknet", "decoder"):
    source = REFERENCE / "speechbrain" / f"{part}.ckpt"
    (folder / source.name).write_bytes(source.read_bytes())
  code, _, errors = convert(folder)
  assert (code, len(errors)) == (2, 1)
  assert "does not say norm_type, causal, mask_nonlinear" in errors[0]
  flags = ["--set=norm_type=gLN", "--set=causal=False"]
  code, *_ = convert(
    folder, *flags, "--set=mask_nonlinear=relu", "--sample_rate_hz=8000"
  )
  assert code == 0


def test_lists_what_does_not_fit(convert, tmp_path):
  path = REFERENCE / "asteroid_global.pth"
  content = torch.load(path, weights_only=False)
  weights = content["state_dict"]
  weights["masker.other"] = weights.pop("masker.mask_net.1.bias")
  weights["masker.bottleneck.1.bias"] = torch.zeros(5)
  torch.save(content, tmp_path / "some.pth")
  code, lines, errors = convert(tmp_path / "some.pth")
  assert (code, lines) == (2, [])
  assert errors == [
    "jaxsep: the weights do not fit Asteroid's ConvTasNet:",
    "jaxsep: missing: masker.mask_net.1.bias",
    "jaxsep: left over: masker.other",
    "jaxsep: wrong shape: masker.bottleneck.1.bias is [5], not [6]",
  ]
  assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
  ("word", "match"),
  [
    ("--set=n_src=2", "the checkpoint says n_src=3, not 2"),
    ("--set=causal", "--set takes NAME=VALUE, got 'causal'"),
  ],
)
def test_settings_that_cannot_be(convert, tmp_path, word, match):
  code, _, errors = convert(REFERENCE / "asteroid_global.pth", word)
  assert (code, len(errors)) == (2, 1)
  assert match in errors[0]
  assert not (tmp_path / "out").exists()
