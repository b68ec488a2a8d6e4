"""`jaxsep separate --stream`: from a pipe or file, written as it comes."""

import argparse
import math
import pathlib
import signal
import sys
from collections.abc import Iterable, Iterator

import numpy as np

from jaxsep import audio, inference
from jaxsep.cli._console import (
  UsageError,
  check_channel,
  load_model,
  note,
  parse_channel,
  user_mistakes,
)
from jaxsep.cli._stream_input import Pipe, Stopper
from jaxsep.cli._stream_output import Files, Stdout

# Short chunks of a pipe for a low latency, long ones of a file for speed.
_PIPE_CHUNK_S = 0.02
_FILE_CHUNK_S = 1.0
# Half-life of the past in the level of the outputs.
_HALF_LIFE_S = 20.0
# The least RMS for the model, as in `inference.separate`, and that of silence.
_MODEL_LEVEL = 0.1
_SILENCE = 1e-4


def check(options: argparse.Namespace) -> None:
  """Refuses options that do not go together."""
  piped = options.files == ["-"]
  if len(options.files) > 1:
    raise UsageError("--stream takes one input: a file, or - for a pipe")
  for name in ("overlap_s", "batch_size"):
    if getattr(options, name) is not None:
      raise UsageError(f"--{name} is not for --stream")
  if options.format != "wav":
    raise UsageError("--stream writes WAV: leave out --format")
  if options.chunk_s is not None and not 0 < options.chunk_s <= 60:
    raise UsageError(
      "--chunk_s must be above 0 and at most 60 seconds with --stream, got"
      f" {options.chunk_s:g}"
    )
  if options.raw and (options.sample_rate_hz is None or not piped):
    raise UsageError("--raw is for - as input, and needs --sample_rate_hz")
  for name in ("sample_rate_hz", "num_channels"):
    value = getattr(options, name)
    if value is not None and not options.raw:
      raise UsageError(f"--{name} is for --raw; other inputs tell theirs")
    if value is not None and not 1 <= value <= 1 << 20:
      raise UsageError(f"--{name} must be positive, got {value}")


def run(options: argparse.Namespace, plan_outputs) -> int:
  """Separates one input as it comes; returns the exit code."""
  check(options)
  channel = parse_channel(options.channel)
  loaded = load_model(options.model)
  try:
    live = inference.stream(loaded.model)
  except ValueError as error:
    raise UsageError(f"{options.model}: {error}") from error
  job = _Job(loaded, live, channel, options)
  with user_mistakes(), Stopper() as stopper:
    # Compiled before the input is touched: a pipe fills meanwhile.
    job.warm_up()
    blocks, rate = job.open(stopper)
    try:
      paths = job.write(blocks, rate, plan_outputs)
    except BrokenPipeError:
      paths = []  # The reader of stdout has closed it.
  for path in paths:
    print(path)
  if job.pipe and job.pipe.problem:
    raise UsageError(job.pipe.problem)
  if job.pipe and job.pipe.remark and not options.quiet:
    note(job.pipe.remark)
  if stopper.signal is None:
    return 0
  name = signal.Signals(stopper.signal).name
  note(f"ended by {name}; {job.num_samples / rate:.2f} s are separated")
  return 128 + stopper.signal


class _Job:
  """One input on its way through the model, chunk by chunk."""

  def __init__(self, loaded, live, channel, options):
    self._loaded = loaded
    self._live = live
    self._channel = channel
    self._options = options
    self.num_samples = 0
    self.pipe: Pipe | None = None
    is_pipe = options.files == ["-"]
    seconds = options.chunk_s or (_PIPE_CHUNK_S if is_pipe else _FILE_CHUNK_S)
    hops = seconds * loaded.sample_rate_hz / live.hop_length
    self._chunk = live.hop_length * max(1, round(hops))

  def warm_up(self):
    """Compiles the step."""
    variables = self._loaded.variables
    silence = np.zeros((1, self._chunk), np.float32)
    self._live.step(variables, self._live.init(variables, 1), silence)

  def open(self, stopper) -> tuple[Iterator[np.ndarray], int]:
    """Mono blocks `[1, any]` of the input, and its rate."""
    options, name = self._options, self._options.files[0]
    if name == "-":
      raw = None
      if options.raw:
        raw = options.raw, options.sample_rate_hz, options.num_channels or 1
      self.pipe = pipe = Pipe(sys.stdin.fileno(), stopper, raw)
      check_channel(self._channel, pipe.num_channels, name)
      return self._mono(pipe.blocks(), stopper), pipe.sample_rate_hz
    about = audio.info(name, allow_truncated=options.allow_truncated)
    check_channel(self._channel, about.num_channels, name)
    blocks = audio.read_blocks(name, allow_truncated=options.allow_truncated)
    return self._mono(blocks, stopper), about.sample_rate_hz

  def _mono(self, blocks, stopper):
    for block in blocks:
      mono = audio.to_mono(block, channel=self._channel)
      self.num_samples += len(mono)
      yield mono[np.newaxis]
      if stopper.signal is not None:
        return

  def write(self, blocks, rate, plan_outputs) -> list[pathlib.Path]:
    """Resamples, separates, resamples back and writes; returns the files."""
    options, paths, sink = self._options, [], None
    encoding = options.encoding or "float"
    if options.output_dir == "-":
      sink = Stdout(encoding)
    else:
      path = pathlib.Path("stdin" if self.pipe else options.files[0])
      num_sources = self._loaded.model.num_sources
      paths = plan_outputs([path], num_sources, options)[path]
      pathlib.Path(options.output_dir).mkdir(parents=True, exist_ok=True)
      sink = Files(paths, sample_rate_hz=rate, encoding=encoding)
    model_rate = self._loaded.sample_rate_hz
    heard = audio.resample_blocks(
      blocks, orig_rate_hz=rate, target_rate_hz=model_rate
    )
    back = audio.resample_blocks(
      self._separate(heard),
      orig_rate_hz=model_rate,
      target_rate_hz=rate,
      length=lambda: self.num_samples,
    )
    with sink:
      for block in back:
        sink.write(block)
    if sink.num_clipped and not options.quiet:
      note(
        f"{sink.num_clipped} samples beyond full scale were clipped;"
        " --encoding=float would keep them"
      )
    return paths

  def _separate(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Sources `[S, any]` at the level of the input, as long as it."""
    latency, variables = self._live.latency, self._loaded.variables
    state = self._live.init(variables, 1)
    levels = inference.RunningGains(
      self._loaded.model.num_sources,
      half_life=_HALF_LIFE_S * self._loaded.sample_rate_hz,
    )
    past = np.zeros(latency, np.float32)  # The mixture not separated yet.
    given, gain = -latency, None
    for chunk, end in _chunks(blocks, self._chunk, latency):
      if gain is None:
        gain = _first_gain(chunk)
      scale = np.float32(gain or 1.0)
      state, estimates = self._live.step(
        variables, state, scale * chunk[np.newaxis]
      )
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
