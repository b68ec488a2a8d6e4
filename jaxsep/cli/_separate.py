"""`jaxsep separate`."""

import argparse
import collections
import contextlib
import pathlib
from collections.abc import Iterable, Iterator

import numpy as np
import tqdm

from jaxsep import audio, inference
from jaxsep.cli import _separate_stream
from jaxsep.cli._console import (
  UsageError,
  check_channel,
  complain,
  load_model,
  note,
  parse_channel,
  user_mistakes,
  warnings_as_notes,
)

_BAR = (
  "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s of audio"
  " [{elapsed}<{remaining}]"
)


def run(options: argparse.Namespace) -> int:
  """Separates each file; goes on to the next one when one is damaged."""
  if options.stream:
    return _separate_stream.run(options, _plan_outputs)
  _check_whole(options)
  channel = parse_channel(options.channel)
  inputs = [pathlib.Path(name) for name in options.files]
  with user_mistakes():
    abouts = {
      path: audio.info(path, allow_truncated=options.allow_truncated)
      for path in inputs
    }
  for path, about in abouts.items():
    check_channel(channel, about.num_channels, path)
  _check_sizes(options)
  loaded = load_model(options.model)
  targets = _plan_outputs(inputs, loaded.model.num_sources, options)
  with user_mistakes():
    pathlib.Path(options.output_dir).mkdir(parents=True, exist_ok=True)
  failed = False
  for path in inputs:
    job = _Job(path, abouts[path], channel, loaded, options)
    try:
      with user_mistakes(), warnings_as_notes(options.quiet):
        job.separate(targets[path])
    except UsageError as error:
      failed = True
      complain(error)
      continue
    for target in targets[path]:
      print(target)
  return 2 if failed else 0


def _check_whole(options):
  """Refuses what only a stream can do."""
  if "-" in options.files or options.output_dir == "-":
    raise UsageError("- for a pipe needs --stream")
  for name in ("raw", "sample_rate_hz", "num_channels"):
    if getattr(options, name) is not None:
      raise UsageError(f"--{name} needs --stream")


def _check_sizes(options):
  """Refuses sizes out of range."""
  if options.chunk_s is None:
    options.chunk_s = 8.0
  overlap_s = options.overlap_s or 0.0
  if not 0.1 <= options.chunk_s <= 3600:
    raise UsageError(
      f"--chunk_s must be from 0.1 to 3600 seconds, got {options.chunk_s:g}"
    )
  if not 0 <= overlap_s <= 0.9 * options.chunk_s:
    raise UsageError(
      "--overlap_s must be from 0 to 0.9 of --chunk_s"
      f" {options.chunk_s:g}, got {overlap_s:g}"
    )
  if options.batch_size is not None and options.batch_size < 1:
    raise UsageError(f"--batch_size must be positive: {options.batch_size}")
  if options.format == "flac" and options.encoding == "float":
    raise UsageError("FLAC holds no float: choose --encoding=pcm24, or WAV")


def _plan_outputs(inputs, num_sources, options):
  """Paths of the outputs of each input; refuses to overwrite."""
  folder = pathlib.Path(options.output_dir)
  targets = {
    path: [
      folder / f"{path.stem}_{number}.{options.format}"
      for number in range(1, num_sources + 1)
    ]
    for path in inputs
  }
  planned = [target for group in targets.values() for target in group]
  for target, count in collections.Counter(planned).items():
    if count > 1 or len(targets) < len(inputs):
      raise UsageError(f"{target}: two inputs would be written to this name")
  sources = {path.resolve() for path in inputs}
  for target in planned:
    if target.resolve() in sources:
      raise UsageError(f"{target}: is an input; choose another --output_dir")
    if target.exists() and not options.overwrite:
      raise UsageError(
        f"{target}: exists already; choose another --output_dir or add"
        " --overwrite"
      )
  return targets


class _Job:
  """One file on its way through the model, block by block."""

  def __init__(self, path, about, channel, loaded, options):
    self._path = path
    self._about = about
    self._channel = channel
    self._loaded = loaded
    self._options = options
    self._num_samples = 0
    self._peak = 0.0
    self._energy = 0.0  # Of the mono signal, and the mean of the channels'.
    self._channel_energy = 0.0

  def separate(self, targets: list[pathlib.Path]) -> None:
    """Reads, resamples, separates, resamples back and writes."""
    self._note_before()
    rate, model_rate = self._about.sample_rate_hz, self._loaded.sample_rate_hz
    overlap_s = self._options.overlap_s
    with self._bar() as bar:
      heard = audio.resample_blocks(
        self._read(), orig_rate_hz=rate, target_rate_hz=model_rate
      )
      sources = inference.separate_blocks(
        self._loaded.model,
        self._loaded.variables,
        (block[0] for block in heard),
        cut=inference.Overlapping(
          round(self._options.chunk_s * model_rate),
          None if overlap_s is None else round(overlap_s * model_rate),
        ),
        batch_size=self._options.batch_size,
        progress=lambda count: bar.update(count / model_rate),
      )
      back = audio.resample_blocks(
        sources,
        orig_rate_hz=model_rate,
        target_rate_hz=rate,
        length=lambda: self._num_samples,
      )
      self._write(targets, back)
    self._note_after()

  def _read(self) -> Iterator[np.ndarray]:
    for block in audio.read_blocks(
      self._path, allow_truncated=self._options.allow_truncated
    ):
      mono = audio.to_mono(block, channel=self._channel)
      self._num_samples += len(mono)
      self._peak = max(self._peak, float(np.abs(mono).max()))
      self._energy += float(np.sum(np.square(mono, dtype=np.float64)))
      self._channel_energy += float(
        np.sum(np.square(block, dtype=np.float64)) / len(block)
      )
      yield mono[np.newaxis]

  def _write(self, targets, blocks: Iterable[np.ndarray]) -> None:
    with contextlib.ExitStack() as stack:
      writers = [
        stack.enter_context(
          audio.Writer(
            target,
            sample_rate_hz=self._about.sample_rate_hz,
            encoding=self._options.encoding,
            num_samples=self._about.num_samples,
          )
        )
        for target in targets
      ]
      for block in blocks:
        for writer, source in zip(writers, block, strict=True):
          writer.write(source[np.newaxis])

  def _bar(self):
    return tqdm.tqdm(
      total=self._about.duration_s,
      desc=self._path.name,
      bar_format=_BAR,
      disable=True if self._options.quiet else None,
    )

  def _note(self, text):
    if not self._options.quiet:
      note(f"{self._path}: {text}")

  def _note_before(self):
    count = self._about.num_channels
    if count > 1 and self._channel == "mix":
      self._note(
        f"separating the mean of its {count} channels; choose one with"
        " --channel"
      )
    elif count > 1:
      self._note(f"separating channel {self._channel + 1} of {count}")
    rate, model_rate = self._about.sample_rate_hz, self._loaded.sample_rate_hz
    if rate > model_rate:
      self._note(
        f"{rate} Hz, but the model takes {model_rate} Hz: outputs hold"
        f" nothing above {model_rate // 2} Hz"
      )

  def _note_after(self):
    if self._peak == 0:
      self._note("is silent; so are the outputs")
    elif self._channel == "mix" and self._energy < 1e-3 * self._channel_energy:
      self._note("its channels cancel each other; choose one with --channel")
