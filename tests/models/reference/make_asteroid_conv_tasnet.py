"""Writes asteroid_conv_tasnet.npz: weights, input and output of a peer.

Run in the environment of the benchmarks, where Asteroid is installed:

  .venv-bench/bin/python tests/models/reference/make_asteroid_conv_tasnet.py
"""

import pathlib

import numpy as np
import torch
from asteroid.models import ConvTasNet

FILTER_LENGTH = 16
HOP = FILTER_LENGTH // 2
LENGTH = 403


def main():
  generator = np.random.default_rng(0)
  mixture = generator.standard_normal((2, LENGTH)).astype(np.float32)
  arrays = {"mixture": mixture}
  for norm, causal, activation in (
    ("gLN", False, "sigmoid"),
    ("cgLN", True, "relu"),
  ):
    torch.manual_seed(0)
    model = ConvTasNet(
      n_src=3,
      n_blocks=3,
      n_repeats=2,
      bn_chan=6,
      hid_chan=10,
      skip_chan=5,
      norm_type=norm,
      causal=causal,
      mask_act=activation,
      kernel_size=FILTER_LENGTH,
      stride=HOP,
      n_filters=12,
    )
    for name, value in model.named_parameters():
      if name.endswith(("gamma", "beta")) or value.numel() == 1:
        # So that gains, biases and slopes differ from each other.
        value.data += 0.3 * torch.randn_like(value)
      arrays[f"{norm}/{name}"] = value.detach().numpy()
    # Asteroid neither pads nor keeps the tail; the paper's own code, and so
    # jaxsep, pads one hop and what completes a frame.
    rest = FILTER_LENGTH - (HOP + LENGTH % FILTER_LENGTH) % FILTER_LENGTH
    padded = np.pad(mixture, ((0, 0), (HOP, HOP + rest)))
    with torch.inference_mode():
      estimate = model(torch.from_numpy(padded)).numpy()
    arrays[f"{norm}/estimate"] = estimate[..., HOP : HOP + LENGTH]
  path = pathlib.Path(__file__).with_name("asteroid_conv_tasnet.npz")
  np.savez_compressed(path, **arrays)


if __name__ == "__main__":
  main()
