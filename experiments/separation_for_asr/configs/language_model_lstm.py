"""The language model beside the recogniser: an LSTM."""

from typing import Any

from experiments.separation_for_asr import recipes
from jaxsep import models


def get_config() -> Any:
  return recipes.language_model(models.LSTMLanguageModel(0))
