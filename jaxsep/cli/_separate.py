"""`jaxsep separate`."""

import argparse
import collections
import contextlib
import pathlib
import warnings

import numpy as np
import tqdm

from jaxsep import audio, inference, model_io
from jaxsep.cli import _separate_stream
from jaxsep.cli._console import (
  UsageError,
  complain,
  note,
  parse_channel,
  user_mistakes,
)
from jaxsep.cli._recording import Recording, check_channel

_BAR = (
  "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s of audio"
  " [{elapsed}<{remaining}]"
)


def run(options: argparse.Namespace) -> int:
  """Separates each file; goes on to the next one when one is damaged."""
  if options.stream:
    return _separate_stream.run(options, _plan_outputs)
  _check(options)
  channel = parse_channel(options.channel)
  inputs = [pathlib.Path(name) for name in options.files]
  abouts = [
    audio.info(path, allow_truncated=options.allow_truncated) for path in inputs
  ]
  for path, about in zip(inputs, abouts, strict=True):
    check_channel(channel, about.num_channels, path)
  loaded = model_io.load(options.model)
  targets = _plan_outputs(inputs, loaded.model.num_sources, options)
  pathlib.Path(options.output_dir).mkdir(parents=True, exist_ok=True)
  failed = False
  for path, about in zip(inputs, abouts, strict=True):
    try:
      with user_mistakes(), warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", UserWarning)
        heard = Recording(channel)
        _separate(path, about, targets[path], heard, loaded, options)
    except UsageError as error:
      failed = True
      complain(error)
      continue
    for warning in seen:
      if not options.quiet:
        note(warning.message)
    print(*targets[path], sep="\n")
  return 2 if failed else 0


def _check(options):
  """Refuses sizes out of range, and what only a stream can do."""
  if "-" in options.files or options.output_dir == "-":
    raise UsageError("- for a pipe needs --stream")
  for name in ("raw", "sample_rate_hz", "num_channels"):
    if getattr(options, name) is not None:
      raise UsageError(f"--{name} needs --stream")
  if options.chunk_s is None:
    options.chunk_s = 8.0
  if not 0.1 <= options.chunk_s <= 3600:
    raise UsageError(
      f"--chunk_s must be from 0.1 to 3600 seconds, got {options.chunk_s:g}"
    )
  if not 0 <= (options.overlap_s or 0) <= 0.9 * options.chunk_s:
    raise UsageError(
      "--overlap_s must be from 0 to 0.9 of --chunk_s"
      f" {options.chunk_s:g}, got {options.overlap_s:g}"
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
  return targets


def _separate(path, about, targets, heard, loaded, options):
  """Reads, resamples, separates, resamples back and writes one file."""

  def tell(text):
    if not options.quiet:
      note(f"{path}: {text}")

  rate, model_rate = about.sample_rate_hz, loaded.sample_rate_hz
  if about.num_channels > 1 and heard.channel == "mix":
    tell(
      f"separating the mean of its {about.num_channels} channels; choose one"
      " with --channel"
    )
  elif about.num_channels > 1:
    tell(f"separating channel {heard.channel + 1} of {about.num_channels}")
  if rate > model_rate:
    tell(
      f"{rate} Hz, but the model takes {model_rate} Hz: outputs hold nothing"
      f" above {model_rate // 2} Hz"
    )
  overlap_s = options.overlap_s
  with contextlib.ExitStack() as stack:
    bar = stack.enter_context(
      tqdm.tqdm(
        total=about.duration_s,
        desc=path.name,
        bar_format=_BAR,
        disable=True if options.quiet else None,
      )
    )
    writers = [
      stack.enter_context(
        audio.Writer(
          target,
          sample_rate_hz=rate,
          encoding=options.encoding,
          num_samples=about.num_samples,
        )
      )
      for target in targets
    ]

    def separate(blocks):
      return inference.separate_blocks(
        loaded.model,
        loaded.variables,
        (block[0] for block in blocks),
        cut=inference.Overlapping(
          round(options.chunk_s * model_rate),
          None if overlap_s is None else round(overlap_s * model_rate),
        ),
        batch_size=options.batch_size,
        progress=lambda count: bar.update(count / model_rate),
      )

    blocks = audio.read_blocks(path, allow_truncated=options.allow_truncated)
    for block in heard.separated(
      blocks, separate, rate=rate, model_rate=model_rate
    ):
      for writer, source in zip(writers, block, strict=True):
        writer.write(source[np.newaxis])
  if heard.energy < 1e-3 * heard.energy_of_channels and heard.channel == "mix":
    tell("its channels cancel each other; choose one with --channel")
  elif not heard.energy:
    tell("is silent; so are the outputs")
