"""`jaxsep separate`."""

import argparse
import contextlib
import pathlib
import warnings
from typing import Any

import numpy as np

from jaxsep import audio, inference, model_io
from jaxsep.cli import _separate_stream
from jaxsep.cli._console import (
  UsageError,
  complain,
  note,
  user_mistakes,
)
from jaxsep.cli._recording import (
  Recording,
  check_channel,
  load_separator,
  prepare_outputs,
  progress_bar,
  tell_choice,
)

_CHUNK_S = 4.0
# Below this frequency nothing is separated.
_SLOW_HZ = 1.0
# Float files may exceed full scale, 1, but by not as much as this.
_PEAK = 100.0
# What rounding leaves of a constant.
_SILENT = 1e-12


def run(options: argparse.Namespace) -> int:
  """Separates each file.

  Options and headers are checked first; a file whose samples turn out to be
  damaged is left out.
  """
  if options.channel is None:
    # The mean of an array's microphones would blur high frequencies.
    options.channel = 0 if options.css else "mix"
  if options.stream:
    return _separate_stream.run(options)
  _check(options)
  inputs = [pathlib.Path(name) for name in options.files]
  abouts = [
    audio.info(path, allow_truncated=options.allow_truncated) for path in inputs
  ]
  for path, about in zip(inputs, abouts, strict=True):
    check_channel(options.channel, about.num_channels, path)
  loaded = load_separator(options, min(x.sample_rate_hz for x in abouts))
  targets = prepare_outputs(inputs, loaded.model.num_sources, options)
  tell_choice(loaded, options)
  failed = False
  for path, about in zip(inputs, abouts, strict=True):
    try:
      with user_mistakes(), warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", UserWarning)
        separate_file(path, about, targets[path], loaded, options)
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
  """Refuses options that do not go together, and what only a stream can do."""
  if "-" in options.files or options.output_dir == "-":
    raise UsageError("- for a pipe needs --stream")
  for name in ("chunk_s", "overlap_s"):
    if options.css and getattr(options, name) is not None:
      raise UsageError(f"--{name} is not for --css, whose windows are fixed")
  options.chunk_s = options.chunk_s or _CHUNK_S
  if options.chunk_s < 0.1:
    raise UsageError("--chunk_s below 0.1 seconds needs --stream")
  if not 0 <= (options.overlap_s or 0) <= 0.9 * options.chunk_s:
    raise UsageError(
      "--overlap_s must be from 0 to 0.9 of --chunk_s"
      f" {options.chunk_s:g}, got {options.overlap_s:g}"
    )
  if options.format == "flac" and options.encoding == "float":
    raise UsageError("FLAC holds no float: choose --encoding=pcm24, or WAV")


def separate_file(
  path: pathlib.Path,
  about: audio.AudioInfo,
  targets: list[pathlib.Path],
  loaded: model_io.LoadedModel,
  options: argparse.Namespace,
) -> None:
  """Reads, resamples, separates, resamples back and writes one file."""

  def tell(text):
    if not options.quiet:
      note(f"{path}: {text}")

  heard = Recording(options.channel)
  rate, model_rate = about.sample_rate_hz, loaded.sample_rate_hz
  if about.num_channels > 1 and heard.channel == "mix":
    tell(
      f"separating the mean of its {about.num_channels} channels; choose one"
      " with --channel"
    )
  elif about.num_channels > 1:
    tell(f"separating channel {int(heard.channel) + 1} of {about.num_channels}")
  share = options.upper_band == "share"
  if rate > model_rate:
    what = "share what is" if share else "hold nothing"
    tell(
      f"{rate} Hz, but the model takes {model_rate} Hz: outputs {what} above"
      f" {model_rate // 2} Hz" + (" (see --upper_band)" * (not share))
    )
  with contextlib.ExitStack() as stack:
    progress = stack.enter_context(
      progress_bar(path.name, about.duration_s, model_rate, options)
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
        sample_rate_hz=model_rate,
        **_cut_and_join(options, model_rate),
        batch_size=options.batch_size,
        progress=progress,
      )

    blocks = audio.read_blocks(path, allow_truncated=options.allow_truncated)
    for block in heard.separated(
      _without_offset(blocks, rate),
      separate,
      rate=rate,
      model_rate=model_rate,
      upper_band=share,
    ):
      for writer, source in zip(writers, block, strict=True):
        writer.write(source[np.newaxis])
  if heard.channel == "mix" and heard.energy < 1e-3 * heard.energy_of_channels:
    tell("its channels cancel each other; choose one with --channel")
  elif heard.peak < _SILENT:
    tell("is silent; so are the outputs")
  elif heard.peak > _PEAK:
    tell(f"has samples up to {heard.peak:.3g}, full scale is 1: is it damaged?")


def _cut_and_join(options, rate) -> dict[str, Any]:
  """How a recording is cut, and its pieces joined."""
  if options.css:
    windows = inference.CssWindows(sample_rate_hz=rate)
    return {"cut": windows, "join": inference.CssJoin, "even_level": False}
  overlap = options.overlap_s
  if overlap is not None:
    overlap = round(overlap * rate)
  return {"cut": inference.Overlapping(round(options.chunk_s * rate), overlap)}


def _without_offset(blocks, rate):
  """The blocks without what is slower than sound.

  A model would put an offset into one of its outputs.
  """
  from scipy import signal  # Takes a while to load.

  pole, state = np.exp(-2 * np.pi * _SLOW_HZ / rate), None
  for block in blocks:
    if state is None:
      # As if the offset had always been there: the start with the least energy.
      silent = np.zeros((len(block), 1))
      begun, _ = signal.lfilter([1, -1], [1, -pole], block, zi=silent)
      decay = pole ** np.arange(block.shape[1])
      state = -(begun @ decay)[:, np.newaxis] / (decay @ decay)
    block, state = signal.lfilter([1, -1], [1, -pole], block, zi=state)
    yield block.astype(np.float32)
