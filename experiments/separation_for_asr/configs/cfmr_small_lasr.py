"""Table 3, Cfmr_small with L_ASR: --config.init_from=RUN."""

from typing import Any

from experiments.separation_for_asr import recipes
from jaxsep import models


def get_config() -> Any:
  return recipes.recognized(models.ConformerSeparator(num_layers=6))
