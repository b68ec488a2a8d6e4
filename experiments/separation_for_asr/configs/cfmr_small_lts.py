"""Cfmr_small that follows a teacher, L_LTS: --config.frozen.teacher=RUN."""

from typing import Any

from experiments.separation_for_asr import recipes
from jaxsep import models


def get_config() -> Any:
  return recipes.distilled(models.ConformerSeparator(num_layers=6))
