"""DPTNet in its authors' size, trained by their recipe.

One mixture of 4 s a step, Adam with betas 0.9 and 0.98, gradients clipped at
5, a warm-up of 4,000 steps, then 2 % less every two epochs of 20,000
mixtures, the size of WSJ0-2mix's training set, and 100 epochs; it stops after
10 without improvement. The warm-up ends at 4.0e-4, where the authors' formula
gives 3.95e-4. Mixtures of utterances are drawn as in `conv_tasnet`. On a GPU:
one frame per sample makes 32,000 frames.
"""

from typing import Any

from experiments import job
from experiments.harmonic_probes.configs import conv_tasnet
from jaxsep import models


def get_config() -> Any:
  config = conv_tasnet.get_config()
  # remat keeps the input of each layer only: a fraction of the memory.
  config.model = job.options(models.DPTNet(remat=True))
  config.data.batch_size = 1
  config.optimizer.plateau = None
  config.optimizer.update(
    learning_rate=4e-4,
    schedule="staircase",
    warmup_steps=4_000,
    decay_rate=0.98,
    decay_every=40_000,
    b2=0.98,
    eps=1e-9,
  )
  config.train.update(
    num_steps=2_000_000,
    eval_every=20_000,
    checkpoint_every=5_000,
    early_stop_patience=10,
  )
  return config
