"""The separator that ships: two speakers at 8 kHz.

A SpectrogramTasNet of 2.6 million weights, so that it takes less than 5 MiB as
bfloat16. What made it learn more in the same time than the models for a small
corpus of the first paper: windows of 64 ms, which tell harmonics apart and make
few frames; compressed magnitudes; and a loss on the waveforms. What makes it
usable on recordings: pauses, in which a speaker's output is to be silent, and
noise. --config.data.corpus is a manifest with the splits "train" and "valid",
see `make_manifest`, and --config.data.noise a folder of noises.
"""

from typing import Any

from experiments import job
from experiments.harmonic_probes.configs import spectrogram_tasnet_small_corpus
from jaxsep import losses


def get_config() -> Any:
  config = spectrogram_tasnet_small_corpus.get_config()
  config.model.compression = "power"
  config.model.stft.update(n_fft=512, hop_length=128)
  config.model.masker.update(
    bottleneck_channels=176,
    hidden_channels=304,
    skip_channels=176,
    num_blocks=5,
    num_repeats=3,
  )
  config.loss = job.options(losses.neg_snr)
  config.loss.soft_threshold_db = 30.0
  config.data.update(
    split="train",
    valid_split="valid",
    weighting="duration",
    min_utterance_s=1.5,
    speed_range=(0.8, 1.25),
    crop_s=3.0,
    valid_crop_s=4.0,
    batch_size=4,
    num_valid_examples=100,
  )
  config.simulation.update(
    flip_polarity=True, pause_probability=0.3, noise_snr_db=(5.0, 45.0)
  )
  config.train.update(
    num_steps=10_000, eval_every=500, checkpoint_every=500, monitor="loss"
  )
  return config
