r"""Evaluates a trained separator: a table, and a row for every mixture.

On the run's own validation set:

  python -m experiments.harmonic_probes.evaluate --workdir=DIR

On a fixed list of mixtures:

  python -m experiments.harmonic_probes.evaluate --workdir=DIR \
    --mixture_list=experiments/harmonic_probes/lists/libri_test_other_2mix.csv \
    --root=LibriSpeech/test-other --output=rows.csv

On mixtures of another corpus, drawn and simulated as in training but fixed:

  python -m experiments.harmonic_probes.evaluate --workdir=DIR \
    --corpus=librispeech:LibriSpeech/test-other --num_examples=300

With --model alone, mixtures are drawn with the usual options. With --workdir, a
run that was trained on filtered speech has every set filtered alike; with
both, the model is tried on the sets of the run.

Mixtures of a list, and of a corpus of mixtures, are taken whole. A list is one
of ours, a metadata file of LibriMix with --root=LibriSpeech, or one of
WSJ0-2mix with the speech as WAV in --root.

Values are means over the sources of a mixture, in dB, under the permutation
of the training loss; SDR is that of BSS-eval with 512 taps. An improvement is
over the mixture itself. The table is written next to the rows, as .md. In the
folder of the run both replace those of an earlier evaluation.
"""

from typing import Any

from experiments import options
from experiments.harmonic_probes.configs import conv_tasnet
from experiments.harmonic_probes.train import make_task
from experiments.separation import SeparationEvaluation
from jaxsep import losses


class Evaluation(SeparationEvaluation):
  """The command."""

  def usual_config(self, model: Any) -> Any:
    """Mixtures as the paper's training has them."""
    config = conv_tasnet.get_config()
    if hasattr(model, "estimate_spectra"):
      config.loss = options.options(losses.magnitude_l2)
    return config


COMMAND = Evaluation(make_task, __doc__)
main = COMMAND.main

if __name__ == "__main__":
  main()
