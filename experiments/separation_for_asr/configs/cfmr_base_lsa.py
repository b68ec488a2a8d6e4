"""Table 1, Cfmr_base with L_SA: magnitudes in place of mel features."""

from typing import Any

from experiments.separation_for_asr import recipes
from jaxsep import models


def get_config() -> Any:
  config = recipes.separator(models.ConformerSeparator())
  config.task.num_mels = None
  return config
