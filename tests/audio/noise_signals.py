"""Noise to write into files."""

import numpy as np

RATE = 8000


def noise(num_channels=1, length=RATE, scale=0.1):
  generator = np.random.default_rng(0)
  return generator.normal(0, scale, (num_channels, length)).astype(np.float32)
