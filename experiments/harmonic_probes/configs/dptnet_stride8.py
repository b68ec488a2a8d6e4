"""DPTNet with filters of 16 samples: an eighth of the frames and of the work.

Chunks of 100 frames, so that paths within and across chunks are about as long
for 4 s. All else as in `dptnet`.
"""

from typing import Any

from experiments.harmonic_probes.configs import dptnet


def get_config() -> Any:
  config = dptnet.get_config()
  config.model.update(
    filter_length=16, chunk_length=100, padding="both", remat=False
  )
  return config
