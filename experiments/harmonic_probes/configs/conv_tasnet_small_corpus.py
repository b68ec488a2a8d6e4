"""A small ConvTasNet for an hour of speech and a few CPU cores.

Every utterance is paired with another speaker's at random, at a random place,
level and speed, so that little speech makes many mixtures. A rectified encoder
lets a small model learn in fewer steps; a moving average of the parameters
stands in for a longer decay.
"""

from typing import Any

from ml_collections import config_dict

from experiments.harmonic_probes.configs import conv_tasnet_small


def get_config() -> config_dict.ConfigDict:
  config: Any = conv_tasnet_small.get_config()
  config.model.num_blocks = 7
  config.model.encoder_activation = "relu"
  config.data.speed_range = (0.9, 1.1)
  config.optimizer.update(
    learning_rate=2e-3, schedule="cosine", warmup_steps=500
  )
  config.train.update(num_steps=10_000, ema_decay=0.999)
  return config
