"""Writes small checkpoints of the peers, and their estimates of a noise.

Needs Asteroid and SpeechBrain 1.1, but neither Lightning nor torchaudio:

  python tests/conversion/reference/make_peer_checkpoints.py

The checkpoints are those that the peers write, some in PyTorch's old format.
`estimates.npz` holds the outputs of their own forward functions.
"""

import importlib.machinery
import pathlib
import sys
from unittest import mock

import numpy as np
import torch

HERE = pathlib.Path(__file__).parent
LENGTHS = (203, 128)
OLD_FORMAT = (
  "asteroid_channel",
  "asteroid_dptnet_forward",
  "speechbrain_causal",
)
SIZES = {
  "n_filters": 12,
  "kernel_size": 16,
  "stride": 8,
  "bn_chan": 6,
  "hid_chan": 10,
  "n_blocks": 2,
  "n_repeats": 2,
}
ASTEROID = {
  "asteroid_global": {
    "n_src": 3,
    "skip_chan": 5,
    "mask_act": "sigmoid",
    "sample_rate": 16000,
  },
  "asteroid_cumulative": {
    "n_src": 2,
    "skip_chan": None,
    "norm_type": "cgLN",
    "causal": True,
    "mask_act": "relu",
    "encoder_activation": "relu",
    "n_blocks": 3,
    "n_repeats": 1,
  },
  "asteroid_channel": {
    "n_src": 2,
    "skip_chan": 4,
    "norm_type": "cLN",
    "mask_act": "softmax",
    "conv_kernel_size": 5,
    "n_repeats": 1,
  },
}
DPTNET = {
  "asteroid_dptnet": {
    "n_src": 2,
    "n_heads": 2,
    "ff_hid": 3,
    "chunk_size": 10,
    "n_repeats": 1,
    "kernel_size": 16,
    "n_filters": 4,
    "stride": 8,
  },
  "asteroid_dptnet_forward": {
    "n_src": 3,
    "n_heads": 1,
    "ff_hid": 3,
    "chunk_size": 6,
    "n_repeats": 2,
    "norm_type": "cLN",
    "mask_act": "sigmoid",
    "encoder_activation": "linear",
    "bidirectional": False,
    "kernel_size": 8,
    "n_filters": 4,
    "stride": 4,
  },
}
SPEECHBRAIN_YAML = """\
# In the manner of SpeechBrain's recipe for WSJ0Mix, the sizes apart.
seed: 1234
data_folder: !PLACEHOLDER
num_spks: 2
sample_rate: 8000
N_encoder_out: 12
kernel_size: 16
kernel_stride: 8

Encoder: !new:speechbrain.lobes.models.dual_path.Encoder
    kernel_size: !ref <kernel_size>
    out_channels: !ref <N_encoder_out>

MaskNet: !new:speechbrain.lobes.models.conv_tasnet.MaskNet
    N: 12
    B: 6
    H: 10
    P: 3
    X: 2
    R: {R}
    C: !ref <num_spks>
    norm_type: '{norm_type}'
    causal: {causal}
    mask_nonlinear: 'relu'

Decoder: !new:speechbrain.lobes.models.dual_path.Decoder
    in_channels: !ref <N_encoder_out>
    out_channels: 1
    kernel_size: !ref <kernel_size>
    stride: !ref <kernel_stride>
    bias: False

optimizer: !name:torch.optim.Adam
    lr: 0.00015

modules:
    encoder: !ref <Encoder>
    decoder: !ref <Decoder>
    masknet: !ref <MaskNet>
"""
SPEECHBRAIN = {
  "speechbrain": {"R": 2, "norm_type": "gLN", "causal": False},
  "speechbrain_causal": {"R": 1, "norm_type": "cLN", "causal": True},
}


def stand_in(*names):
  """Replaces modules that the peers import but do not use."""
  for name in names:
    module = mock.MagicMock(__version__="0")
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    sys.modules[name] = module


def shake(model):
  """Makes gains, biases and slopes differ from each other."""
  for value in model.parameters():
    if value.dim() < 2 or value.shape[:2] == (1, 1):
      value.data += 0.3 * torch.randn_like(value)
  return model.eval()


def noise(length):
  generator = np.random.default_rng(length)
  return generator.standard_normal((1, length)).astype(np.float32)


def asteroid(estimates):
  stand_in("pytorch_lightning")
  from asteroid.models import ConvTasNet, DPTNet

  models = {
    name: lambda options=options: ConvTasNet(**{**SIZES, **options})
    for name, options in ASTEROID.items()
  } | {
    name: lambda options=options: DPTNet(**options)
    for name, options in DPTNET.items()
  }
  for name, make in models.items():
    torch.manual_seed(0)
    model = shake(make())
    torch.save(
      model.serialize(),
      HERE / f"{name}.pth",
      _use_new_zipfile_serialization=name not in OLD_FORMAT,
    )
    for length in LENGTHS:
      with torch.inference_mode():
        estimate = model(torch.from_numpy(noise(length)))
      estimates[f"{name}.pth/{length}"] = estimate.numpy()


def speechbrain(estimates):
  stand_in("torchaudio", "torchaudio.transforms", "torchaudio.functional")
  from speechbrain.lobes.models.conv_tasnet import MaskNet
  from speechbrain.lobes.models.dual_path import Decoder, Encoder

  for name, options in SPEECHBRAIN.items():
    torch.manual_seed(1)
    modules = {
      "encoder": Encoder(16, 12),
      "masknet": MaskNet(N=12, B=6, H=10, P=3, X=2, C=2, **options),
      "decoder": Decoder(12, 1, 16, stride=8, bias=False),
    }
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    for part, module in modules.items():
      torch.save(
        shake(module).state_dict(),
        folder / f"{part}.ckpt",
        _use_new_zipfile_serialization=name not in OLD_FORMAT,
      )
    text = SPEECHBRAIN_YAML.format(**options)
    (folder / "hyperparams.yaml").write_text(text)
    for length in LENGTHS:
      # As SpeechBrain separates: sources first, the end filled with zeros.
      mixture = torch.from_numpy(noise(length))
      with torch.inference_mode():
        features = modules["encoder"](mixture)
        masked = features[None] * modules["masknet"](features)
        estimate = torch.stack([modules["decoder"](row) for row in masked], 1)
      estimate = torch.nn.functional.pad(
        estimate, (0, length - estimate.shape[-1])
      )
      estimates[f"{name}/{length}"] = estimate.numpy()


def main():
  estimates = {}
  asteroid(estimates)
  speechbrain(estimates)
  for length in LENGTHS:
    estimates[f"mixture/{length}"] = noise(length)
  np.savez_compressed(HERE / "estimates.npz", **estimates)


if __name__ == "__main__":
  main()
