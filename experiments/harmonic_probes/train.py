r"""Trains a separator on mixtures of two voices, made on the fly.

  python -m experiments.harmonic_probes.train \
    --config=experiments/harmonic_probes/configs/conv_tasnet.py \
    --workdir=DIR \
    --config.data.corpus=librispeech:LibriSpeech/train-clean-100 \
    --config.data.valid_speakers=LibriSpeech/cv_speakers.txt \
    --config.optimizer.learning_rate=5e-4

Without a corpus it trains on the built-in voices. Killed at any moment and
started again with the same line, it goes on. The exit status is 0 when the run
is over, 143 or 130 when SIGTERM or SIGINT ended it after a checkpoint, and 1
when something is wrong, which one line explains.
"""

import sys
from collections.abc import Sequence

import jax
from absl import app, flags
from ml_collections import config_flags

from experiments.command import run_or_exit, say
from experiments.harmonic_probes import job
from jaxsep import train
from jaxsep.train import flags as train_flags

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "File of options; --config.name=value changes one."
)
train_flags.define_flags()


def run() -> int:
  """Trains as the flags say; returns the exit status."""
  config = _CONFIG.value
  if config is None:
    raise ValueError(
      "--config is missing, such as --config="
      "experiments/harmonic_probes/configs/conv_tasnet.py"
    )
  workdir = train_flags.require_workdir()
  train_flags.start_processes()
  result = job.fit(config, workdir=workdir, say=say)
  if jax.process_index() == 0 and result.reason != "signal":
    say(f"{result.reason}; the best model is of step {result.best_step}")
  return train_flags.exit_code(result.signal)


def main(argv: Sequence[str]) -> None:
  """Runs, and ends with the status of the run."""
  train.keep_freed_memory()
  sys.exit(run_or_exit(run, argv, debug=flags.FLAGS.debug))


if __name__ == "__main__":
  flags.DEFINE_bool("debug", False, "Show where an error comes from.")
  app.run(main, flags_parser=train_flags.parse)
