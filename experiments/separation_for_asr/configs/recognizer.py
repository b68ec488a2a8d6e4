"""ASR_matched, section 3.3."""

from typing import Any

from experiments.separation_for_asr import recipes


def get_config() -> Any:
  return recipes.recognizer()
