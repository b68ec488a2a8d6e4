r"""Makes a SpectrogramTasNet for twice the rate from a trained one.

  python -m experiments.pretrained.widen --model=two_speakers_8k \
    --hidden_channels=288 --output=start

Windows of the same duration have the same frequencies, and as many above them.
The new model hears and masks the old ones as the trained model does. What is
above begins unheard, with the masks of the highest old frequencies. To keep the
size, the channels within the blocks that matter least are left out. The result
is where a training starts: --config.init_from=start.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

import jaxsep
from experiments import job
from experiments.command import Parser

# Highest of the old frequencies that the masks above begin with; the last bin,
# half the old rate, is unlike its neighbours.
_TOP = slice(-33, -1)


def widened(masker: Any, num_bins: int, hidden_channels: int) -> Any:
  """Parameters of a `TemporalConvNet` for `num_bins` frequencies, by names."""
  masker = jax.tree.map(np.array, masker)
  for name, block in masker.items():
    if name.startswith("block_"):
      _keep_channels(block, hidden_channels)
  norm, mask = masker["norm"], masker["mask"]
  before = len(norm["scale"])
  new = num_bins - before
  for name, values in norm.items():
    norm[name] = np.append(values, np.full(new, values[_TOP].mean()))
  kernel = masker["bottleneck"]["kernel"]
  masker["bottleneck"]["kernel"] = np.pad(kernel, ((0, new), (0, 0)))
  for name, values in mask.items():
    values = values.reshape(*values.shape[:-1], -1, before)
    top = values[..., _TOP].mean(axis=-1, keepdims=True)
    values = np.concatenate([values, np.repeat(top, new, axis=-1)], axis=-1)
    mask[name] = values.reshape(*values.shape[:-2], -1)
  return masker


def _keep_channels(block, count):
  """Leaves out all but the channels with the largest output weights."""
  weight = np.abs(block["heads"]["kernel"]).sum(axis=1)
  weight *= np.abs(block["depthwise"]["norm_scale"])
  kept = np.sort(np.argsort(weight)[-count:])
  block["heads"]["kernel"] = block["heads"]["kernel"][kept]
  for part in ("expand", "depthwise"):
    for name, values in block[part].items():
      # The slope of the activation is one for all.
      block[part][name] = values[..., kept] if values.ndim else values


def run(flags: Any) -> None:
  """Writes the model's folder."""
  loaded = job.load_model(flags.model)
  stft, masker = loaded.model.stft, loaded.model.masker
  count = flags.hidden_channels or masker.hidden_channels
  if count > masker.hidden_channels:
    raise ValueError(
      f"--hidden_channels is {count}, but {flags.model} has only"
      f" {masker.hidden_channels}"
    )
  model = loaded.model.clone(
    stft=dataclasses.replace(
      stft, n_fft=2 * stft.n_fft, hop_length=2 * stft.hop_length
    ),
    masker=masker.clone(hidden_channels=count),
  )
  params = dict(loaded.variables["params"])
  params["masker"] = widened(params["masker"], model.stft.num_bins, count)
  jaxsep.save(
    flags.output,
    model=model,
    variables={"params": params},
    sample_rate_hz=2 * loaded.sample_rate_hz,
    overwrite=flags.overwrite,
  )


def main(argv: Sequence[str] | None = None) -> None:
  """Reads the flags and runs; an error is one line."""
  parser = Parser(__doc__)
  model_help = "Folder of a model or run, or a shipped name."
  parser.add("model", required=True, help=model_help)
  parser.add("hidden_channels", type=int, least=1, help="Of each block; all.")
  parser.add("output", required=True, help="Folder of the new model.")
  parser.add("overwrite", type=bool, help="Replace the folder.")
  parser.run(run, argv)


if __name__ == "__main__":
  main()
