"""Table 3, Cfmr_small with L_OS: --config.frozen.teacher=RUN.

As printed, it ends with the teacher; the method that the paper cites ends with
the references: --config.task.shift.ends_with=reference.
"""

from typing import Any

from experiments import job
from experiments.separation_for_asr import recipes
from jaxsep import models, tasks


def get_config() -> Any:
  config = recipes.distilled(models.ConformerSeparator(num_layers=6))
  config.task.shift = job.options(tasks.ObjectiveShift())
  return config
