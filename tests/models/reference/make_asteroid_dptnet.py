"""Writes asteroid_dptnet.npz: weights, input and output of a peer.

Run in the environment of the benchmarks, where Asteroid is installed:

  .venv-bench/bin/python tests/models/reference/make_asteroid_dptnet.py
"""

import pathlib

import numpy as np
import torch
from asteroid.models import DPTNet

# A tail of three samples fills no hop: Asteroid leaves it silent.
LENGTH = 403


def main():
  generator = np.random.default_rng(0)
  mixture = generator.standard_normal((2, LENGTH)).astype(np.float32)
  arrays = {"mixture": mixture}
  for norm, activation, bidirectional in (
    ("gLN", "relu", True),
    ("cLN", "sigmoid", False),
  ):
    torch.manual_seed(0)
    model = DPTNet(
      n_src=3,
      n_heads=2,
      ff_hid=5,
      chunk_size=10,
      n_repeats=2,
      norm_type=norm,
      mask_act=activation,
      bidirectional=bidirectional,
      kernel_size=8,
      stride=4,
      n_filters=6,
    )
    model.eval()
    for name, value in model.named_parameters():
      if value.ndim == 1 or value.numel() == 1:
        # So that gains, biases and slopes differ from each other.
        value.data += 0.3 * torch.randn_like(value)
      arrays[f"{norm}/{name}"] = value.detach().numpy()
    with torch.inference_mode():
      arrays[f"{norm}/estimate"] = model(torch.from_numpy(mixture)).numpy()
  path = pathlib.Path(__file__).with_name("asteroid_dptnet.npz")
  np.savez_compressed(path, **arrays)


if __name__ == "__main__":
  main()
