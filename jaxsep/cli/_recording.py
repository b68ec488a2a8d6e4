"""What `separate` does with any recording, whole or as a stream."""

import argparse
import collections
import pathlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from jaxsep import audio, model_io
from jaxsep.cli._console import UsageError

Blocks = Iterable[np.ndarray]
Path = pathlib.Path


class Recording:
  """One channel of a recording, or the mean of all, that comes in blocks.

  Attributes:
    channel: `mix`, or an index from 0.
    num_samples: Samples so far.
    peak: The largest of them.
    total: Their sum.
    energy: Their energy.
    energy_of_channels: Mean energy of the channels that they were taken from.
  """

  def __init__(self, channel: str | int):
    self.channel = channel
    self.num_samples = 0
    self.peak = self.total = self.energy = self.energy_of_channels = 0.0

  def separated(
    self,
    blocks: Blocks,
    separate: Callable[[Blocks], Blocks],
    *,
    rate: int,
    model_rate: int,
  ) -> Iterator[np.ndarray]:
    """Sources `[S, any]` of blocks `[C, any]`, at the same rate and length."""
    heard = audio.resample_blocks(
      self._mono(blocks), orig_rate_hz=rate, target_rate_hz=model_rate
    )
    return audio.resample_blocks(
      separate(heard),
      orig_rate_hz=model_rate,
      target_rate_hz=rate,
      length=lambda: self.num_samples,
    )

  def _mono(self, blocks):
    for block in blocks:
      mono = audio.to_mono(block, channel=self.channel)[np.newaxis]
      self.num_samples += mono.size
      self.peak = max(self.peak, float(np.abs(mono).max(initial=0.0)))
      self.total += np.sum(mono, dtype=np.float64)
      self.energy += np.sum(np.square(mono, dtype=np.float64))
      squares = np.square(block, dtype=np.float64)
      self.energy_of_channels += np.sum(squares) / len(block)
      yield mono


def load_separator(folder: str) -> model_io.LoadedModel:
  """A model that separates a mixture alone."""
  loaded = model_io.load(folder)
  kind = type(loaded.model).__name__
  if loaded.task != "separation" or not hasattr(loaded.model, "num_sources"):
    raise UsageError(
      f"{folder}: its model, {kind} (task: {loaded.task}), does not separate"
      " recordings"
    )
  inputs = getattr(loaded.model, "example_inputs", dict)()
  if further := sorted(inputs.keys() - {"mixture", "length"}):
    raise UsageError(
      f"{folder}: this {kind} needs {' and '.join(further)} beside the"
      " mixture, which only inference.separate in Python can give it"
    )
  return loaded


def check_channel(channel: str | int, num_channels: int, path: object) -> None:
  """Refuses a channel that a file does not have."""
  if channel != "mix" and int(channel) >= num_channels:
    there = "1 channel" if num_channels == 1 else f"{num_channels} channels"
    raise UsageError(f"{path}: has {there}, no channel {int(channel) + 1}")


def prepare_outputs(
  inputs: list[Path], num_sources: int, options: argparse.Namespace
) -> dict[Path, list[Path]]:
  """Paths of the outputs of each input, in a folder made for them."""
  folder = Path(options.output_dir)
  if folder.exists() and not folder.is_dir():
    raise UsageError(f"{folder}: is a file; choose another --output_dir")
  targets = {
    path: [
      folder / f"{path.stem}_{number}.{options.format}"
      for number in range(1, num_sources + 1)
    ]
    for path in inputs
  }
  planned = [target for path in inputs for target in targets[path]]
  sources = {path.resolve() for path in inputs}
  for target, count in collections.Counter(planned).items():
    if count > 1:
      raise UsageError(f"{target}: two inputs would be written to this name")
    if target.resolve() in sources:
      raise UsageError(f"{target}: is an input; choose another --output_dir")
    if target.exists() and not options.overwrite:
      raise UsageError(
        f"{target}: exists already; choose another --output_dir or add"
        " --overwrite"
      )
  folder.mkdir(parents=True, exist_ok=True)
  return targets
