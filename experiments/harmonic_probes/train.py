r"""Trains a separator on mixtures of two speakers, made on the fly.

  python -m experiments.harmonic_probes.train \
    --config=experiments/harmonic_probes/configs/conv_tasnet.py \
    --workdir=DIR \
    --config.data.corpus=librispeech:LibriSpeech/train-clean-100 \
    --config.data.valid_speakers=LibriSpeech/cv_speakers.txt \
    --config.optimizer.learning_rate=5e-4

Without a corpus it trains on the built-in voices. Killed at any moment and
started again with the same line, it goes on. --print_config shows every option
there is. The exit status is 0 when the run is over, 143 or 130 when SIGTERM or
SIGINT ended it after a checkpoint, and 1 for a mistake, which one line
explains.
"""

from typing import Any

from experiments import job
from jaxsep import losses, tasks


def make_task(
  config: Any, *, data: Any = None, frozen: Any = None
) -> tasks.SeparationTask:
  """Makes the task of a config."""
  del data, frozen
  model = job.build(config.model, where="config.model")
  loss = job.build(config.loss, where="config.loss")
  spectral = (losses.magnitude_l2, losses.complex_l2)
  is_spectral = getattr(loss, "func", loss) in spectral
  if is_spectral and not hasattr(model, "estimate_spectra"):
    raise ValueError(
      f"loss is {config.loss.function}, but {type(model).__name__} estimates "
      "no spectra; choose a loss of waveforms, such as neg_si_snr"
    )
  kind = (
    tasks.SpectrogramSeparationTask if is_spectral else tasks.SeparationTask
  )
  return kind(
    model=model,
    sample_rate_hz=config.sample_rate_hz,
    simulation=job.build(
      config.simulation,
      where="config.simulation",
      sample_rate_hz=config.sample_rate_hz,
    ),
    loss_function=loss,
  )


if __name__ == "__main__":
  job.main(make_task, __doc__)
