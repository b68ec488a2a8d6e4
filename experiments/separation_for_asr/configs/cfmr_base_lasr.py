"""Table 2, L_ASR after L_FA: --config.init_from=RUN, the second stage."""

from typing import Any

from experiments.separation_for_asr import recipes
from jaxsep import models


def get_config() -> Any:
  return recipes.recognized(models.ConformerSeparator())
