"""Time and memory of separating a long recording.

  python -m experiments.benchmarks.long_recording --minutes=60

makes a recording of that length, separates it block by block from file to
files and once more in memory, and prints the time and by how much the process
grew beyond what it was after a recording of 20 seconds: that is the model,
what was compiled for it, and one batch of chunks. An hour is to take less than
1.5 GB of this, and a shorter recording no more.

The bands model splits frequencies and costs next to nothing, which leaves the
cutting, joining, reading and writing; `--model=conv_tasnet` is the paper's
size with random parameters.
"""

import json
import pathlib
import resource
import sys
import tempfile
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from experiments.benchmarks import targets
from jaxsep import audio, inference, models

_MOST_MB = 1500

_MINUTES = flags.DEFINE_float("minutes", 60.0, "Length of the recording.")
_RATE = flags.DEFINE_integer("sample_rate_hz", 8000, "Its sample rate.")
_MODEL = flags.DEFINE_enum(
  "model", "bands", ["bands", "conv_tasnet"], "What separates it."
)
_BATCH = flags.DEFINE_integer("batch_size", 8, "Chunks per call.")
_JSON = flags.DEFINE_bool("json", False, "Print one line of JSON.")
_IN_MEMORY = flags.DEFINE_bool("in_memory", True, "Also separate() as a whole.")


class Bands(nn.Module):
  """Low and high frequencies as two sources."""

  num_sources: int = 2

  @nn.compact
  def __call__(self, mixture):
    """Maps `[B, T]` to `[B, S, T]`."""
    spectrum = jnp.fft.rfft(mixture)
    is_high = jnp.arange(spectrum.shape[-1]) >= spectrum.shape[-1] // 2
    masks = jnp.stack([~is_high, is_high])[None]
    return jnp.fft.irfft(spectrum[:, None] * masks, mixture.shape[-1])


def peak_megabytes() -> float:
  """The most memory that this process has held so far."""
  status = pathlib.Path("/proc/self/status")
  if status.exists():
    # The other source counts what the parent process held before the start.
    for line in status.read_text().splitlines():
      if line.startswith("VmHWM"):
        return int(line.split()[1]) / 1024
  scale = 1024**2 if sys.platform == "darwin" else 1024
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def make_recording(path: pathlib.Path, length_s: float, rate: int) -> None:
  """Writes noise that comes and goes as speech does."""
  generator = np.random.default_rng(0)
  with audio.Writer(path, sample_rate_hz=rate, encoding="pcm16") as writer:
    for _ in range(round(length_s)):
      loudness = np.repeat(generator.random(10) > 0.3, rate // 10)
      second = generator.normal(0, 0.1, len(loudness)) * loudness
      writer.write(np.clip(second, -1, 1)[np.newaxis].astype(np.float32))


def separate_file(path, model, params, batch_size) -> int:
  """From file to files, block by block; returns the number of samples."""
  rate = audio.info(path).sample_rate_hz
  blocks = (block[0] for block in audio.read_blocks(path))
  voices = inference.separate_blocks(
    model, params, blocks, chunk_length=8 * rate, batch_size=batch_size
  )
  count = 0
  with (
    audio.Writer(path.with_suffix(".1.wav"), sample_rate_hz=rate) as first,
    audio.Writer(path.with_suffix(".2.wav"), sample_rate_hz=rate) as second,
  ):
    for block in voices:
      first.write(block[:1])
      second.write(block[1:])
      count += block.shape[1]
  return count


def beside_target(grown_mb, length_s, rate) -> str:
  """The end of a line: whether the target is met, where it applies."""
  target = f"below {_MOST_MB} MB for an hour at 8 kHz"
  if grown_mb < _MOST_MB and length_s * rate < 3600 * 8000:
    return f"target {target}: not decided, this is shorter"
  return targets.verdict(grown_mb < _MOST_MB, target)


def main(unused_argv):
  """Prints the table."""
  rate, batch_size = _RATE.value, _BATCH.value
  model = Bands() if _MODEL.value == "bands" else models.ConvTasNet()
  params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, rate)))
  params = params.get("params", {})
  length_s = round(60 * _MINUTES.value)
  with tempfile.TemporaryDirectory() as folder:
    short = pathlib.Path(folder) / "short.wav"
    long = pathlib.Path(folder) / "long.wav"
    make_recording(long, length_s, rate)
    # Of as many chunks as fill a batch, so that the same shape is compiled.
    make_recording(short, max(20, 8 * batch_size), rate)
    separate_file(short, model, params, batch_size)
    before = peak_megabytes()
    start = time.perf_counter()
    count = separate_file(long, model, params, batch_size)
    blocks_s = time.perf_counter() - start
    result = {
      "audio_s": length_s,
      "before_mb": round(before),
      "blocks_s": round(blocks_s, 2),
      "blocks_grown_mb": round(peak_megabytes() - before),
      "same_length": count == length_s * rate,
    }
    if _IN_MEMORY.value:
      mixture = audio.read(long)[0][0]
      start = time.perf_counter()
      voices = inference.separate(
        model, params, mixture, chunk_length=8 * rate, batch_size=batch_size
      )
      result["memory_s"] = round(time.perf_counter() - start, 2)
      result["memory_grown_mb"] = round(peak_megabytes() - before)
      result["same_length"] &= voices.shape == (2, count)
  if _JSON.value:
    print(json.dumps(result))
    return
  print(
    f"{length_s} s at {rate} Hz, {_MODEL.value}, batches of {batch_size} chunks"
    f" of 8 s, {jax.default_backend()}; {result['before_mb']} MB before"
  )
  for name, title in [
    ("blocks", "file to files, block by block"),
    ("memory", "separate() of the whole recording"),
  ]:
    if f"{name}_s" in result:
      taken = result[f"{name}_s"]
      grown = result[f"{name}_grown_mb"]
      print(
        f"{title:<36}{taken:8.1f} s {length_s / taken:8.0f} x real time"
        f" {grown:6} MB more  {beside_target(grown, length_s, rate)}"
      )


if __name__ == "__main__":
  app.run(main)
