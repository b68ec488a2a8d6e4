"""Table 1, DenseCRN with L_FA."""

from typing import Any

from experiments.separation_for_asr import recipes
from jaxsep import models


def get_config() -> Any:
  return recipes.recurrent(models.DenseCRN())
