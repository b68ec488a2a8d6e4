"""Checkpoint files, good and bad."""

import pathlib
import pickle
import shutil
import zipfile

import jax
import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from jaxsep import conversion

REFERENCE = pathlib.Path(__file__).parent / "reference"
GLOBAL = REFERENCE / "asteroid_global.pth"
UNTOLD = {
  "n_blocks": 2,
  "stride": 8,
  "norm_type": "gLN",
  "mask_act": "sigmoid",
  "encoder_activation": None,
}


def content():
  return torch.load(GLOBAL, weights_only=False)


def same(found, other):
  """Whether two conversions have the same model and weights."""
  jax.tree.map(np.testing.assert_array_equal, found.variables, other.variables)
  return found.model == other.model


def fails(path, message, **options):
  with pytest.raises(conversion.ConversionError, match=message) as error:
    conversion.convert(path, **options)
  return error.value.lines


@pytest.fixture
def saved(tmp_path):
  def save(what, **options):
    torch.save(what, tmp_path / "some.ckpt", **options)
    return tmp_path / "some.ckpt"

  return save


def test_checkpoint_of_lightning(saved):
  # What Asteroid's training leaves behind; None is written as text there.
  weights = content()["state_dict"].items()
  path = saved(
    {
      "pytorch-lightning_version": "2.6.6",
      "hparams_name": "kwargs",
      "state_dict": {f"model.{name}": value for name, value in weights}
      | {"loss_func.weight": torch.ones(1)},
      "optimizer_states": [{"state": {0: {"step": torch.ones(())}}}],
      "hyper_parameters": {
        "data_sample_rate": 16000,
        "filterbank_n_filters": 12,
        "filterbank_kernel_size": 16,
        "filterbank_stride": 8,
        "masknet_n_src": 3,
        "masknet_n_blocks": 2,
        "masknet_n_repeats": 2,
        "masknet_out_chan": "None",
        "training_epochs": 200,
      },
    }
  )
  assert same(conversion.convert(path), conversion.convert(GLOBAL))
  assert conversion.convert(path).sample_rate_hz == 16_000


@pytest.mark.parametrize("box", ["", "module."])
def test_state_dictionary_alone(saved, box):
  weights = content()["state_dict"]
  path = saved({f"{box}{name}": value for name, value in weights.items()})
  found = conversion.convert(path, sample_rate_hz=16_000, arguments=UNTOLD)
  assert same(found, conversion.convert(GLOBAL))


def test_safetensors(tmp_path):
  path = tmp_path / "some.safetensors"
  safetensors.torch.save_file(content()["state_dict"], path)
  found = conversion.convert(path, sample_rate_hz=16_000, arguments=UNTOLD)
  assert same(found, conversion.convert(GLOBAL))
  path.write_bytes(path.read_bytes()[:-10])
  fails(path, "is damaged")


def test_safetensors_whose_length_looks_like_pytorch(tmp_path):
  # The low byte of the header's length: 0x80 in one file of 32.
  weights = {"encoder.filterbank._filters": np.zeros((4, 1, 16), np.float32)}
  path = tmp_path / "weights.safetensors"
  for size in range(400):
    safetensors.numpy.save_file(weights, path, metadata={"x": "y" * size})
    if path.read_bytes()[0] == 0x80:
      break
  assert path.read_bytes()[0] == 0x80
  assert "PyTorch" not in str(fails(path, ".", sample_rate_hz=8000))


def test_half_precision_becomes_float32(saved):
  inner = content()
  weights = inner["state_dict"].items()
  inner["state_dict"] = {name: value.bfloat16() for name, value in weights}
  variables = conversion.convert(saved(inner)).variables
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype("f4")}


def test_checkpoint_of_speechbrains_training(tmp_path):
  # The hyper-parameters are two folders above.
  inner = tmp_path / "save" / "CKPT+2026-01-01"
  shutil.copytree(REFERENCE / "speechbrain", inner)
  (inner / "hyperparams.yaml").rename(tmp_path / "hyperparams.yaml")
  expected = conversion.convert(REFERENCE / "speechbrain")
  assert same(conversion.convert(inner), expected)


class Danger:
  """An object that does something when it is unpickled."""

  def __reduce__(self):
    return (pathlib.Path.touch, (pathlib.Path("touched"),))


@pytest.mark.parametrize("kind", ["zip", "old", "pickle"])
def test_nothing_in_a_file_is_run(saved, kind, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  inner = content() | {"extra": Danger()}
  path = saved(inner, _use_new_zipfile_serialization=kind == "zip")
  if kind == "pickle":
    path.write_bytes(pickle.dumps(Danger()))
  (line,) = fails(path, "save its state_dict alone")
  assert "pathlib" in line or kind != "zip"
  assert not pathlib.Path("touched").exists()


# The second file has the old format.
@pytest.mark.parametrize("name", [GLOBAL.name, "asteroid_channel.pth"])
@pytest.mark.parametrize("share", [0.001, 0.9])
def test_truncated_files(tmp_path, name, share):
  whole = (REFERENCE / name).read_bytes()
  (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
  (line,) = fails(tmp_path / name, "is damaged|is neither")
  assert str(tmp_path / name) in line


@pytest.mark.parametrize(
  ("text", "message"),
  [
    (b"", "is empty"),
    (b"RIFF1234WAVEfmt ", "neither a PyTorch nor a safetensors file"),
    (b"x", "neither a PyTorch nor a safetensors file"),
    (b"PK\x03\x04 and then no zip file", "is damaged"),
  ],
)
def test_other_files(tmp_path, text, message):
  (tmp_path / "some.wav").write_bytes(text)
  fails(tmp_path / "some.wav", message)


def test_other_places(tmp_path):
  with zipfile.ZipFile(tmp_path / "some.zip", "w") as file:
    file.writestr("letter.txt", "hello")
  fails(tmp_path / "some.zip", "is damaged or no checkpoint")
  fails(tmp_path / "nothing.pth", "there is no")
  fails(tmp_path, "without masknet.ckpt")
  shutil.copy(REFERENCE / "speechbrain" / "masknet.ckpt", tmp_path)
  fails(tmp_path, "has no encoder.ckpt, decoder.ckpt")


@pytest.mark.parametrize(
  ("what", "message"),
  [
    (torch.ones(3), "holds no state_dict"),
    ([1, 2], "holds no state_dict"),
    ({"epoch": 3}, "holds no weights"),
    ({"state_dict": 3}, "holds no state_dict"),
    ({"conv.weight": torch.ones(2)}, "no known model has .* conv.weight"),
    ({"w": torch.ones(2).to_sparse()}, "sparse and quantized"),
    (
      {"model_args": 3, "state_dict": {"masker.TCN.0.x": torch.ones(2)}},
      "its arguments are 3",
    ),
    (
      {
        "model_name": "DPRNNTasNet",
        "model_args": {},
        "state_dict": {"masker.net.0.x": torch.ones(2)},
      },
      "DPRNNTasNet has no counterpart here: only ConvTasNet, DPTNet",
    ),
  ],
)
def test_other_contents(saved, what, message):
  fails(saved(what), message)


def test_peer_that_it_is_not(saved):
  path = saved({"conv.weight": torch.ones(2)})
  (line,) = fails(path, "do not tell which model of Ast", peer="asteroid")
  assert r"masker.TCN. (ConvTasNet) or masker.layers. (DPTNet)" in line
  fails(path, "does not say N, B, H, P", peer="speechbrain")
  fails(REFERENCE / "speechbrain", "does not say n_src", peer="asteroid")


def test_a_part_of_a_model_is_judged_as_that_model(saved):
  inner = torch.load(REFERENCE / "asteroid_dptnet.pth", weights_only=False)
  for kept in ("masker.net_out.", "masker.first_out."):
    names = [n for n in inner["state_dict"] if n.startswith((kept, "encoder."))]
    weights = {name: inner["state_dict"][name] for name in names}
    fails(saved(weights), "does not say .*ff_hid, n_repeats")
  # Where the file names the model, that decides.
  only = {"encoder.filterbank._filters": torch.ones(4, 1, 8)}
  path = saved(inner | {"state_dict": only})
  fails(path, "do not fit Asteroid's DPTNet:\nmissing: decoder.filterbank")


def test_no_sample_rate_or_another(saved):
  inner = content()
  fails(GLOBAL, "says 16000 Hz, not 8000 Hz", sample_rate_hz=8000)
  fails(GLOBAL, "says n_src=3, not 2", arguments={"n_src": 2})
  del inner["model_args"]["sample_rate"]
  path = saved(inner)
  fails(path, "does not say its sample rate: give --sample_rate_hz")
  fails(path, "sample rate cannot be -1", sample_rate_hz=-1)
  assert conversion.convert(path, sample_rate_hz=8000).sample_rate_hz == 8000
  inner["model_args"]["sample_rate"] = 8000.5
  fails(saved(inner), "sample rate cannot be 8000.5")


@pytest.mark.parametrize(
  ("old", "new", "message"),
  [
    ("conv_tasnet.MaskNet", "dual_path.Dual_Path_Model", "dual_path.Dual_Path"),
    ("dual_path.Encoder", "conv_tasnet.Encoder", "conv_tasnet.Encoder has no"),
    ("!ref <MaskNet>", "!ref <Mask>", "<Mask> refers to nothing"),
    ("!ref <num_spks>", "!ref <a> * 2", "not worked out"),
    ("num_spks: 2", "num_spks: !ref <num_spks>", "refers to itself"),
    ("sample_rate: 8000", "sample_rate: ~", "does not say its sample rate"),
    ("seed: 1234", "seed: [1234", "is no YAML"),
    ("norm_type: 'gLN'", "norm_type: 'BN'", "norm_type='BN'"),
    ("N: 12", "N: !apply:os.getpid []", r"N cannot be \[\]"),
    ("masknet: !ref <MaskNet>", "masknet: 3", "describes no masknet"),
  ],
)
def test_hyperparameters_of_other_kinds(tmp_path, old, new, message):
  shutil.copytree(REFERENCE / "speechbrain", tmp_path / "model")
  path = tmp_path / "model" / "hyperparams.yaml"
  text = path.read_text()
  assert old in text
  path.write_text(text.replace(old, new))
  fails(tmp_path / "model", message)
  path.write_text("- 3\n")
  fails(tmp_path / "model", "holds no hyper-parameters")


def test_without_pytorch(monkeypatch):
  monkeypatch.setitem(__import__("sys").modules, "torch", None)
  fails(GLOBAL, r"takes PyTorch: pip install 'jaxsep\[convert\]'")
