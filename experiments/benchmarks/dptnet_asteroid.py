"""The peer's side of the DPTNet benchmark; started by dptnet.py.

Runs in an environment of its own with PyTorch and Asteroid, and imports
nothing of jaxsep.
"""

import functools
import pathlib
import runpy

from asteroid.models import DPTNet

# The defaults but for the width of the LSTM: 256 there, 128 by the authors.
model_class = functools.partial(
  DPTNet,
  n_filters=64,
  kernel_size=16,
  stride=8,
  chunk_size=100,
  n_repeats=6,
  n_heads=4,
  ff_hid=128,
  norm_type="gLN",
)

if __name__ == "__main__":
  # Run by path: this environment has no `experiments` to import from.
  path = pathlib.Path(__file__).with_name("conv_tasnet_asteroid.py")
  runpy.run_path(str(path))["main"](model_class)
