"""`jaxsep separate --stream`: from a pipe or file, written as it comes."""

import argparse
import functools
import pathlib
import signal
import sys
import types

import numpy as np

from jaxsep import audio, inference
from jaxsep.cli._console import UsageError, note
from jaxsep.cli._recording import (
  Recording,
  check_channel,
  load_separator,
  prepare_outputs,
  tell_choice,
)
from jaxsep.cli._stopper import Stopper
from jaxsep.cli._stream_output import Files, Stdout

# Short chunks of a pipe for a low latency, long ones of a file for speed.
_PIPE_CHUNK_S = 0.02
_FILE_CHUNK_S = 1.0


def run(options: argparse.Namespace) -> int:
  """Separates one input as it comes; returns the exit code."""
  _check(options)
  heard = Recording(options.channel)
  loaded = load_separator(options)
  tell_choice(loaded, options)
  try:
    live = inference.stream(loaded.model)
  except ValueError as error:
    raise UsageError(f"{options.model}: {error}") from error
  is_pipe = options.files == ["-"]
  seconds = options.chunk_s or (_PIPE_CHUNK_S if is_pipe else _FILE_CHUNK_S)
  hops = seconds * loaded.sample_rate_hz / live.hop_length
  chunk_length = live.hop_length * max(1, round(hops))

  def separate(blocks):
    return inference.stream_blocks(
      loaded.model,
      loaded.variables,
      (block[0] for block in blocks),
      sample_rate_hz=loaded.sample_rate_hz,
      chunk_length=chunk_length,
    )

  # Compiles before the input is touched: a pipe fills meanwhile.
  list(separate([np.zeros((1, 1), np.float32)]))
  stopper = Stopper()
  source = _open(options, stopper)
  rate = source.sample_rate_hz
  check_channel(heard.channel, source.num_channels, options.files[0])
  blocks = heard.separated(
    _until_signal(source.blocks(), stopper),
    separate,
    rate=rate,
    model_rate=loaded.sample_rate_hz,
  )
  with stopper:
    paths, sink = _make_sink(options, rate, loaded)
    try:
      with sink:
        for block in blocks:
          sink.write(block)
    except BrokenPipeError:
      paths = []  # The reader of stdout has closed it.
  if paths:
    print(*paths, sep="\n")
  if sink.num_clipped and not options.quiet:
    note(
      f"{sink.num_clipped} samples beyond full scale were clipped;"
      " --encoding=float would keep them"
    )
  if stopper.signal is not None:
    name = signal.Signals(stopper.signal).name
    note(f"ended by {name}; {heard.num_samples / rate:.2f} s are separated")
    return 128 + stopper.signal
  if source.problem:
    raise UsageError(source.problem)
  if source.remark and not options.quiet:
    note(source.remark)
  return 0


def _check(options):
  """Refuses options that do not go together."""
  if len(options.files) > 1:
    raise UsageError("--stream takes one input: a file, or - for a pipe")
  for name in ("overlap_s", "batch_size", "upper_band", "css"):
    if getattr(options, name) not in (None, False):
      raise UsageError(f"--{name} is not for --stream")
  if options.format != "wav":
    raise UsageError("--stream writes WAV: leave out --format")


def _open(options, stopper):
  """The input: a pipe, or a file with the same attributes."""
  name = options.files[0]
  if name == "-":
    return audio.Pipe(functools.partial(stopper.read, sys.stdin.fileno()))
  whole = {"allow_truncated": options.allow_truncated}
  about = audio.info(name, **whole)
  return types.SimpleNamespace(
    sample_rate_hz=about.sample_rate_hz,
    num_channels=about.num_channels,
    blocks=lambda: audio.read_blocks(name, **whole),
    problem=None,
    remark=None,
  )


def _until_signal(blocks, stopper):
  for block in blocks:
    yield block
    if stopper.signal is not None:
      return


def _make_sink(options, rate, loaded):
  """Paths of the outputs, and what writes them."""
  encoding = options.encoding or "float"
  if options.output_dir == "-":
    return [], Stdout(encoding)
  name = options.files[0]
  path = pathlib.Path("stdin" if name == "-" else name)
  paths = prepare_outputs([path], loaded.model.num_sources, options)[path]
  return paths, Files(paths, sample_rate_hz=rate, encoding=encoding)
