"""A recogniser of the built-in voices, for a CPU: 1.5 million weights."""

from typing import Any

from experiments.separation_for_asr import recipes


def get_config() -> Any:
  config = recipes.tiny(recipes.recognizer())
  config.model.update(
    num_mels=40,
    conv_channels=(16, 16),
    size=96,
    num_layers=4,
    num_heads=4,
    feedforward_size=384,
    kernel_size=15,
    num_decoder_layers=1,
  )
  config.data.update(batch_size=16, longest_s=5.0)
  return config
