"""Corpora of noise in the layouts of real ones, tiny models, a tiny config."""

import numpy as np
import soundfile

from experiments import options
from experiments.harmonic_probes.configs import conv_tasnet
from jaxsep import models


def tiny(name, *, causal=False, **fields):
  """A model of a class of `jaxsep.models` that compiles at once."""
  masker = models.TemporalConvNet(
    bottleneck_channels=4,
    hidden_channels=8,
    skip_channels=4,
    num_blocks=1,
    num_repeats=1,
    causal=causal,
  )
  if name == "ConvTasNet":
    fields = {"num_filters": 8, **fields}
  return getattr(models, name)(masker=masker, **fields)


TINY_MODEL = tiny("ConvTasNet")


def write(path, samples, rate_hz=8000):
  path.parent.mkdir(parents=True, exist_ok=True)
  soundfile.write(path, samples, rate_hz, subtype="PCM_16")


def noise_of(seed, num_samples):
  return 0.1 * np.random.default_rng(seed).standard_normal(num_samples)


def tiny_config(**data):
  """Eight devices share a batch in the tests."""
  config = conv_tasnet.get_config()
  config.model = options.options(TINY_MODEL)
  config.data.update(
    num_voices=4,
    num_valid_voices=3,
    num_utterances=2,
    num_valid_examples=8,
    batch_size=8,
    crop_s=0.5,
    valid_crop_s=0.5,
    num_threads=1,
  )
  config.data.update(data)
  config.train.update(num_steps=2, eval_every=2, log_every=1, tensorboard=False)
  return config
