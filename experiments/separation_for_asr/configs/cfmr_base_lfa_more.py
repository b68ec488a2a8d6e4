"""Table 2, L_FA on more data: --config.init_from=RUN of `cfmr_base_lfa`."""

from typing import Any

from experiments.separation_for_asr import recipes
from jaxsep import models


def get_config() -> Any:
  return recipes.more(recipes.separator(models.ConformerSeparator()))
