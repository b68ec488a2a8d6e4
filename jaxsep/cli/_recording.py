"""What `separate` does with any recording, whole or as a stream."""

import argparse
import collections
import contextlib
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tqdm

from jaxsep import audio, inference, model_io
from jaxsep.cli._console import UsageError, note

Blocks = Iterable[np.ndarray]
Path = pathlib.Path
_BAR = (
  "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s of audio"
  " [{elapsed}<{remaining}]"
)


class Recording:
  """One channel of a recording, or the mean of all, that comes in blocks.

  Attributes:
    channel: `mix`, or an index from 0.
    num_samples: Samples so far.
    peak: The largest of them.
    energy: Their energy.
    energy_of_channels: Mean energy of the channels that they were taken from.
  """

  def __init__(self, channel: str | int):
    self.channel = channel
    self.num_samples = 0
    self.peak = self.energy = self.energy_of_channels = 0.0

  def separated(
    self,
    blocks: Blocks,
    separate: Callable[[Blocks], Blocks],
    *,
    rate: int,
    model_rate: int,
    upper_band: bool = False,
  ) -> Iterator[np.ndarray]:
    """Sources `[S, any]` of blocks `[C, any]`, at the same rate and length.

    With `upper_band`, they share what lies above the model's band.
    """
    if upper_band and rate > model_rate:
      return inference.with_upper_band(
        self._mono(blocks),
        separate,
        sample_rate_hz=rate,
        model_rate_hz=model_rate,
      )
    return audio.resample_blocks(
      separate(self.heard(blocks, rate=rate, model_rate=model_rate)),
      orig_rate_hz=model_rate,
      target_rate_hz=rate,
      length=lambda: self.num_samples,
    )

  def heard(
    self, blocks: Blocks, *, rate: int, model_rate: int
  ) -> Iterator[np.ndarray]:
    """What a model hears of blocks `[C, any]`: `[1, any]` at its rate."""
    return audio.resample_blocks(
      self._mono(blocks), orig_rate_hz=rate, target_rate_hz=model_rate
    )

  def _mono(self, blocks):
    for block in blocks:
      mono = audio.to_mono(block, channel=self.channel)[np.newaxis]
      self.num_samples += mono.size
      self.peak = max(self.peak, float(np.abs(mono).max(initial=0.0)))
      self.energy += np.sum(np.square(mono, dtype=np.float64))
      squares = np.square(block, dtype=np.float64)
      self.energy_of_channels += np.sum(squares) / len(block)
      yield mono


def load_separator(
  options: argparse.Namespace, rate_hz: int = 0
) -> model_io.LoadedModel:
  """The model that is asked for, or one that ships, for a mixture alone.

  It is for recordings at `rate_hz`, 0 if that is not known.
  """
  folder = options.model or _shipped(options, rate_hz)
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
  count = loaded.model.num_sources
  if options.num_speakers not in (None, count):
    raise UsageError(
      f"{folder}: separates {count} speakers, not {options.num_speakers}"
    )
  return loaded


def _shipped(options, rate_hz):
  """The folder of a model that ships.

  A stream needs a causal model; files are separated better by others. Of
  these, it is the one with the highest rate that recordings at `rate_hz` have.
  """
  cards = model_io.pretrained()
  if options.stream:
    cards = {name: card for name, card in cards.items() if card["causal"]}
  if not cards:
    raise UsageError(
      "--stream needs a causal model, and none ships yet: train one, and name"
      " its folder with --model"
    )
  count = options.num_speakers or 2
  fitting = [name for name in cards if cards[name]["num_sources"] == count]
  if not fitting:
    there = sorted({card["num_sources"] for card in cards.values()})
    raise UsageError(
      f"no model that ships separates {count} speakers, only"
      f" {' or '.join(map(str, there))}: give your own with --model"
    )

  def unsuited(name):
    above = cards[name]["sample_rate_hz"] - rate_hz
    return cards[name]["causal"], above > 0, abs(above)

  return cards[min(fitting, key=unsuited)]["folder"]


def tell_choice(
  loaded: model_io.LoadedModel, options: argparse.Namespace
) -> None:
  """Says which model was chosen, if the user named none."""
  if loaded.folder and not options.model and not options.quiet:
    note(
      f"separating with {loaded.folder.name} ({loaded.model.num_sources}"
      f" speakers, {loaded.sample_rate_hz} Hz); `jaxsep models` lists all"
    )


def check_channel(channel: str | int, num_channels: int, path: object) -> None:
  """Refuses a channel that a file does not have."""
  if channel != "mix" and int(channel) >= num_channels:
    there = "1 channel" if num_channels == 1 else f"{num_channels} channels"
    raise UsageError(f"{path}: has {there}, no channel {int(channel) + 1}")


@contextlib.contextmanager
def progress_bar(
  title: str, duration_s: float, rate: int, options: argparse.Namespace
) -> Iterator[Callable[[int], Any]]:
  """Shows how much audio is done; yields what takes numbers of samples."""
  with tqdm.tqdm(
    total=duration_s,
    desc=title,
    bar_format=_BAR,
    disable=True if options.quiet else None,
  ) as bar:
    # Rounding must not lead past the end: tqdm would warn.
    yield lambda count: bar.update(min(count / rate, duration_s - bar.n))


def prepare_outputs(
  inputs: list[Path], num_sources: int, options: argparse.Namespace
) -> dict[Path, list[Path]]:
  """Paths of the sources of each input, in folders made for them."""
  numbers = range(1, num_sources + 1)
  endings = [f"_{number}.{options.format}" for number in numbers]
  return planned_outputs(inputs, endings, options)


def planned_outputs(
  inputs: list[Path], endings: list[str], options: argparse.Namespace
) -> dict[Path, list[Path]]:
  """Paths of the outputs of each input, in folders made for them."""
  folders = {path: Path(options.output_dir or path.parent) for path in inputs}
  for folder in folders.values():
    if folder.exists() and not folder.is_dir():
      raise UsageError(f"{folder}: is a file; choose another --output_dir")
  targets = {
    path: [folder / f"{path.stem}{ending}" for ending in endings]
    for path, folder in folders.items()
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
  for folder in folders.values():
    folder.mkdir(parents=True, exist_ok=True)
  return targets
