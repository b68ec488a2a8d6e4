"""A small ConvTasNet for an hour of speech and a few CPU cores.

Every utterance is paired with another speaker's at random, at a random place,
level and speed, so that little speech makes many mixtures. Many small steps (2
mixtures of 2 s) teach more per second than few large ones. Encoder and decoder
start as a Fourier transform, so that masks are learned from the first step on;
a moving average of the parameters evens out the small batches.
"""

from typing import Any

from experiments.harmonic_probes.configs import conv_tasnet_small


def get_config() -> Any:
  config = conv_tasnet_small.get_config()
  config.model.masker.num_blocks = 8
  config.model.encoder_activation = "relu"
  config.model.filterbank_init = "fourier"
  config.data.update(speed_range=(0.9, 1.1), batch_size=2, crop_s=2.0)
  config.optimizer.plateau = None
  config.optimizer.update(
    name="muon", learning_rate=3e-3, schedule="cosine", warmup_steps=200
  )
  config.train.update(
    num_steps=12_000, ema_decay=0.998, eval_every=1_000, checkpoint_every=1_000
  )
  return config
