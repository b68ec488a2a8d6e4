"""A ConvTasNet that learns on a few CPU cores: 778 thousand parameters."""

from typing import Any

from experiments.harmonic_probes.configs import conv_tasnet


def get_config() -> Any:
  config = conv_tasnet.get_config()
  config.model.update(num_filters=256, filter_length=32)
  config.model.masker.update(
    bottleneck_channels=96,
    hidden_channels=192,
    skip_channels=96,
    num_blocks=6,
    num_repeats=2,
  )
  config.data.update(
    crop_s=2.0, valid_crop_s=3.0, batch_size=4, num_valid_examples=64
  )
  config.train.update(
    num_steps=20_000, eval_every=1_000, checkpoint_every=500, log_every=50
  )
  return config
