"""`jaxsep separate --stream`: from a pipe or file, written as it comes."""

import argparse
import functools
import math
import pathlib
import signal
import sys
import types

import numpy as np

from jaxsep import audio, inference, model_io
from jaxsep.cli._console import UsageError, note
from jaxsep.cli._recording import Recording, check_channel, prepare_outputs
from jaxsep.cli._stopper import Stopper
from jaxsep.cli._stream_output import Files, Stdout

# Short chunks of a pipe for a low latency, long ones of a file for speed.
_PIPE_CHUNK_S = 0.02
_FILE_CHUNK_S = 1.0
# Half-life of the past in the level of the outputs.
_HALF_LIFE_S = 20.0
# A softer input is raised to this RMS, as in `inference.separate`; below the
# second one, it is silence.
_MODEL_LEVEL = 0.1
_SILENCE = 1e-4


def run(options: argparse.Namespace) -> int:
  """Separates one input as it comes; returns the exit code."""
  _check(options)
  heard = Recording(options.channel)
  loaded = model_io.load(options.model)
  try:
    live = inference.stream(loaded.model)
  except ValueError as error:
    raise UsageError(f"{options.model}: {error}") from error
  is_pipe = options.files == ["-"]
  seconds = options.chunk_s or (_PIPE_CHUNK_S if is_pipe else _FILE_CHUNK_S)
  hops = seconds * loaded.sample_rate_hz / live.hop_length
  chunk_length = live.hop_length * max(1, round(hops))
  # Compiled before the input is touched: a pipe fills meanwhile.
  silence = np.zeros((1, chunk_length), np.float32)
  live.step(loaded.variables, live.init(loaded.variables, 1), silence)
  stopper = Stopper()
  source = _open(options, stopper)
  rate = source.sample_rate_hz
  check_channel(heard.channel, source.num_channels, options.files[0])
  blocks = heard.separated(
    _until_signal(source.blocks(), stopper),
    functools.partial(_separate, loaded, live, chunk_length),
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
  for name in ("overlap_s", "batch_size"):
    if getattr(options, name) is not None:
      raise UsageError(f"--{name} is not for --stream")
  if options.format != "wav":
    raise UsageError("--stream writes WAV: leave out --format")
  if options.raw and (options.sample_rate_hz is None or options.files != ["-"]):
    raise UsageError("--raw is for - as input, and needs --sample_rate_hz")
  for name in ("sample_rate_hz", "num_channels"):
    if getattr(options, name) is not None and not options.raw:
      raise UsageError(
        f"--{name} is for --raw; other inputs state theirs in a header"
      )


def _open(options, stopper):
  """The input: a pipe, or a file with the same attributes."""
  name = options.files[0]
  if name == "-":
    raw = options.raw, options.sample_rate_hz, options.num_channels or 1
    read = functools.partial(stopper.read, sys.stdin.fileno())
    return audio.Pipe(read, raw if options.raw else None)
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


def _separate(loaded, live, chunk_length, blocks):
  """Sources `[S, any]` at the level of the input, as long as it."""
  state = live.init(loaded.variables, 1)
  levels = inference.RunningGains(
    loaded.model.num_sources, half_life=_HALF_LIFE_S * loaded.sample_rate_hz
  )
  past = np.zeros(live.latency, np.float32)  # The mixture not separated yet.
  given, gain = -live.latency, None
  for chunk, end in _chunks(blocks, chunk_length, live.latency):
    if gain is None:
      gain = _first_gain(chunk)
    scale = np.float32(gain or 1.0)
    state, estimates = live.step(loaded.variables, state, scale * chunk[None])
    estimates = np.asarray(estimates[0], np.float32) / scale
    if not np.isfinite(estimates).all():
      raise FloatingPointError(
        "the model's output holds NaN or Inf: its parameters are damaged"
      )
    mixture = np.concatenate([past, chunk])
    past = mixture[len(chunk) :]
    sources = levels.apply(mixture[: len(chunk)], estimates)
    skipped = min(max(0, -given), len(chunk))
    kept = len(chunk) if end is None else end - given
    given += len(chunk)
    if kept > skipped:
      yield sources[:, skipped:kept]


def _first_gain(chunk):
  """The gain of a quiet input from its first sound on; None in silence.

  A model separates worse near the floors of its norms. The gain stays, because
  the state depends on it; a power of two adds no rounding.
  """
  sound = chunk[chunk != 0].astype(np.float64)
  level = np.sqrt(np.mean(np.square(sound))) if len(sound) else 0.0
  if not level > _SILENCE:
    return None
  return 2.0 ** max(0, round(math.log2(_MODEL_LEVEL / level)))


def _chunks(blocks, length, latency):
  """Chunks of one length, with silence for the latency at the end.

  With each comes the length of the input, which is None until it has ended.
  """
  waiting, count = np.zeros(0, np.float32), 0
  for block in blocks:
    waiting = np.concatenate([waiting, block[0]])
    count += block.shape[1]
    whole = len(waiting) // length * length
    for start in range(0, whole, length):
      yield waiting[start : start + length], None
    waiting = waiting[whole:]
  owed = len(waiting) + latency if count else 0
  padded = np.pad(waiting, (0, -(-owed // length) * length - len(waiting)))
  for start in range(0, len(padded), length):
    yield padded[start : start + length], count
