"""Table 1, Cfmr_base with L_FA: the first stage."""

from typing import Any

from experiments.separation_for_asr import recipes
from jaxsep import models


def get_config() -> Any:
  return recipes.separator(models.ConformerSeparator())
