"""Table 1, Cfmr_small with L_FA."""

from typing import Any

from experiments.separation_for_asr import recipes
from jaxsep import models


def get_config() -> Any:
  return recipes.separator(models.ConformerSeparator(num_layers=6))
