"""Damages audio files by a seed, and says what jaxsep makes of them.

`tests/test_damaged_files.py` looks at a few hundred; more are a matter of time:

  python tests/damaged_files.py --num_files=10000 --seed=0

Seeds count up from `--seed`. Slices of them are examined in a process each, so
that a crash in a C library or an endless loop is seen. Prints what the files
led to and, for each fault, the seed, after which the exit status is 1.
"""

import argparse
import collections
import contextlib
import functools
import io
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from unittest import mock

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import soundfile

from data_pipelines import crops, files, scanning
from data_pipelines.table import Corpus
from jaxsep import audio, cli, model_io

RATE_HZ = 8000
#: What soundfile writes: container, encoding, channels.
FORMATS = {
  "pcm.wav": ("WAV", "PCM_16", 2),
  "float.wav": ("WAV", "FLOAT", 1),
  "alaw.wav": ("WAV", "ALAW", 1),
  "adpcm.wav": ("WAV", "IMA_ADPCM", 1),
  "x.rf64": ("RF64", "PCM_24", 1),
  "x.flac": ("FLAC", "PCM_16", 1),
  "vorbis.ogg": ("OGG", "VORBIS", 1),
  "x.opus": ("OGG", "OPUS", 1),
  "x.mp3": ("MP3", "MPEG_LAYER_III", 2),
  "x.aiff": ("AIFF", "PCM_16", 1),
  "x.au": ("AU", "PCM_16", 1),
  "x.w64": ("W64", "PCM_16", 1),
  "x.caf": ("CAF", "PCM_16", 1),
  "alac.caf": ("CAF", "ALAC_16", 1),
  "x.nist": ("NIST", "PCM_16", 1),
}
#: Files in one process of the tool, and the seconds that it may take.
SLICE, SLICE_S = 250, 240


@functools.cache
def sound(name: str) -> bytes:
  """A whole file of a second."""
  container, encoding, num_channels = FORMATS[name]
  signal = np.random.default_rng(0).normal(0, 0.1, (RATE_HZ, num_channels))
  stored = io.BytesIO()
  soundfile.write(stored, signal, RATE_HZ, format=container, subtype=encoding)
  return stored.getvalue()


def damaged(seed: int) -> tuple[str, bytes]:
  """The name and the content of a damaged file."""
  rng = np.random.default_rng(seed)
  name = list(FORMATS)[seed % len(FORMATS)]
  data = np.frombuffer(sound(name), np.uint8).copy()
  start = rng.integers(len(data))
  part = slice(start, start + rng.integers(1, 4000))
  match ("cut", "flip", "zeros", "noise", "header")[rng.integers(5)]:
    case "cut":
      data = data[:start]
    case "flip":
      places = rng.integers(0, len(data), rng.integers(1, 30))
      data[places] ^= 1 << rng.integers(0, 8, len(places)).astype(np.uint8)
    case "zeros":
      data[part] = 0
    case "noise":
      data[part] = rng.integers(0, 256, len(data[part]))
    case "header":
      data[rng.integers(0, min(len(data), 200))] = rng.integers(256)
  return name, data.tobytes()


class Halves(nn.Module):
  """A separator that is quick and knows nothing."""

  num_sources: int = 2

  @nn.compact
  def __call__(self, mixture, *, length=None):
    """Gives half of the mixture to each source."""
    return jnp.stack([mixture, mixture], axis=1) / 2


class Examiner:
  """Gives damaged files to all that reads files; collects what is wrong."""

  def __init__(self, folder: pathlib.Path):
    """Takes an empty folder for its files."""
    self.folder = folder
    self.model = model_io.LoadedModel(Halves(), {}, RATE_HZ)

  def examine(self, seed: int) -> dict[str, str]:
    """What each reader makes of a file: "read", "refused", or a fault."""
    name, content = damaged(seed)
    path = self.folder / f"{seed}-{name}"
    path.write_bytes(content)
    readers = {
      "info": self._info,
      "read": self._read,
      "read_allowed": functools.partial(self._read, allow_truncated=True),
      "blocks": self._blocks,
      "scan": self._crop,
    }
    # The command takes longest: each file goes through one form of it.
    if seed // len(FORMATS) % 2:
      readers["separate"] = self._separate
    else:
      readers["separate_allowed"] = functools.partial(
        self._separate, options=["--allow_truncated"]
      )
    found = {}
    for reader, function in readers.items():
      with c_output() as written:
        try:
          found[reader] = function(path) or "read"
        except (audio.AudioError, files.CorpusError) as error:
          found[reader] = "refused"
          if "\n" in str(error) or str(path) not in str(error):
            found[reader] = f"unclear: {error}"
        except BaseException as error:
          found[reader] = f"{type(error).__name__}: {error}"
      if written():
        found[reader] = f"on the screen: {written()}"
    path.unlink()
    if left := sorted(os.listdir(self.folder)):
      found["separate"] = f"left behind: {left}"
    return found

  def _info(self, path):
    about = audio.info(path)
    if min(about.num_samples, about.num_channels, about.sample_rate_hz) < 1:
      return f"impossible: {about}"

  def _read(self, path, **options):
    signal, rate_hz = audio.read(path, **options)
    if not signal.size or rate_hz < 1 or not np.isfinite(signal).all():
      return f"impossible: {signal.shape} at {rate_hz} Hz"

  def _blocks(self, path):
    for block in audio.read_blocks(path, block_length=999):
      if not block.size or not np.isfinite(block).all():
        return f"impossible: {block.shape}"

  def _crop(self, path):
    """The header as a scan reads it, then a crop as a training does."""
    length, rate_hz, problem = scanning.probe(str(path))
    if problem or not length:
      return "refused" if problem and "\n" not in problem else f"? {problem}"
    corpus = Corpus(
      path=[str(path)], start=[0], length=[length], rate_hz=[rate_hz]
    )
    crop = crops.read_row(
      corpus, 0, sample_rate_hz=RATE_HZ, length=2000, share=0.5
    )
    if not crop.size or not np.isfinite(crop).all():
      return f"impossible: {crop.shape}"

  def _separate(self, path, options=()):
    """The command: all files and status 0, or no file and one line."""
    said = io.StringIO()
    with (
      contextlib.redirect_stderr(said),
      contextlib.redirect_stdout(said),
      mock.patch.object(model_io, "load", lambda name: self.model),
    ):
      status = cli.main(
        [
          "separate",
          str(path),
          "--model=any",
          f"--output_dir={self.folder}/out",
          "--chunk_s=1",
          "--quiet",
          *options,
        ]
      )
    out = self.folder / "out"
    there = sorted(out.iterdir()) if out.exists() else []
    broken = [p for p in there if not np.isfinite(soundfile.read(p)[0]).all()]
    for left in there:
      left.unlink()
    if out.exists():
      out.rmdir()
    lines = said.getvalue().splitlines()
    expected = [str(out / f"{path.stem}_{n}.wav") for n in (1, 2)]
    if broken:
      return f"NaN in {broken}"
    if status == 0 and lines == expected == list(map(str, there)):
      return "read"
    if status == 2 and not there and len(lines) == 1 and str(path) in lines[0]:
      return "refused"
    return f"status {status}, {there}, said {lines}"


@contextlib.contextmanager
def c_output():
  """Takes what C writes to the screen; gives a function that tells it."""
  with tempfile.TemporaryFile() as held:
    kept = [(number, os.dup(number)) for number in (1, 2)]
    try:
      for number, _ in kept:
        os.dup2(held.fileno(), number)
      text = []
      yield lambda: text[0]
    finally:
      for number, copy in kept:
        os.dup2(copy, number)
        os.close(copy)
      held.seek(0)
      text.append(held.read().decode(errors="replace"))


def examine_slice(seeds: range) -> Iterator[tuple[int, dict[str, str]]]:
  """What became of each file, examined in a process of its own."""
  command = [sys.executable, __file__, f"--seed={seeds.start}"]
  command += [f"--num_files={len(seeds)}", "--here"]
  try:
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=SLICE_S)
    output, end = done.stdout, f"process ended with {done.returncode}"
  except subprocess.TimeoutExpired as late:
    output, end = late.stdout or b"", "takes too long"
  lines = output.decode().splitlines()
  for seed, line in itertools.zip_longest(seeds, lines):
    if line is None:
      yield seed, {"process": end}
      if len(lines) + 1 < len(seeds):
        yield from examine_slice(range(seed + 1, seeds.stop))
      return
    yield seed, json.loads(line)


def main() -> None:
  """Examines files and prints counts and faults."""
  parser = argparse.ArgumentParser(description="Examines damaged files.")
  parser.add_argument("--num_files", type=int, default=1000)
  parser.add_argument("--seed", type=int, default=0, help="the first")
  parser.add_argument("--here", action="store_true", help="in this process")
  flags = parser.parse_args()
  seeds = range(flags.seed, flags.seed + flags.num_files)
  if flags.here:
    with tempfile.TemporaryDirectory() as folder:
      examiner = Examiner(pathlib.Path(folder))
      for seed in seeds:
        print(json.dumps(examiner.examine(seed)), flush=True)
    return
  counts, faults = collections.Counter(), 0
  for start in range(seeds.start, seeds.stop, SLICE):
    part = range(start, min(start + SLICE, seeds.stop))
    for seed, found in examine_slice(part):
      for reader, result in found.items():
        is_fault = result not in ("read", "refused")
        counts[reader, "fault" if is_fault else result] += 1
        if is_fault:
          faults += 1
          name = list(FORMATS)[seed % len(FORMATS)]
          print(f"seed {seed} ({name}), {reader}: {result[:300]}", flush=True)
  for (reader, result), count in sorted(counts.items()):
    print(f"{reader:<18}{result:<10}{count:>8}")
  sys.exit(faults > 0)


if __name__ == "__main__":
  main()
