"""ConvTasNet in the paper's size, trained by the paper's recipe.

Adam at 1e-3, gradients clipped at 5, crops of 4 s, the learning rate halved
after 3 evaluations without improvement; an evaluation every 20,000 mixtures,
the size of WSJ0-2mix's training set, and 100 of them. From a corpus of
utterances, unlike the paper, pairs, crops and speeds (0.95 to 1.05) are drawn
anew for every mixture; `wsj0_mix:DIR` has the fixed mixtures of the paper.

Options are documented in their classes: `models.ConvTasNet`,
`simulate.Simulation`, `DataConfig`, `OptimizerConfig` and `train.TrainConfig`.
Any of them can be a flag: --config.simulation.source_filter.band=lowpass with
--config.simulation.source_filter.cutoff_hz=300 filters all speakers, and so
mixtures and references alike, also those of a corpus of mixtures.
"""

from typing import Any

from experiments import job
from experiments.data import DataConfig
from jaxsep import losses, models, simulate, train


def get_config() -> Any:
  return job.make_config(
    sample_rate_hz=8000,
    model=job.options(models.ConvTasNet()),
    # Another by name: --config.loss=neg_sdr.
    loss=job.options(losses.neg_si_snr),
    simulation=job.options(
      simulate.Simulation(8000), without=("sample_rate_hz",)
    ),
    data=job.options(DataConfig()),
    # Halved at most to a thousandth.
    optimizer=job.options(
      job.OptimizerConfig(plateau=train.Plateau(min_scale=1e-3))
    ),
    train=job.options(
      train.TrainConfig(num_steps=250_000, eval_every=2_500, log_every=100)
    ),
  )
