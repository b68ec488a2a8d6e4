"""Our side of the DPTNet benchmark; started by dptnet.py."""

import functools

from experiments.benchmarks import conv_tasnet_jaxsep
from jaxsep.models import DPTNet

# Asteroid's class, whose features are the filters, with the authors' LSTM.
model_class = functools.partial(
  DPTNet,
  num_filters=64,
  filter_length=16,
  feature_size=64,
  chunk_length=100,
  num_blocks=6,
  num_heads=4,
  hidden_size=128,
  norm="global",
  project_features=False,
  chunk_padding="chunk",
  divide_overlap=True,
)

if __name__ == "__main__":
  conv_tasnet_jaxsep.main(model_class)
