"""Time and memory of separating a long recording.

  python -m experiments.benchmarks.long_recording --minutes=60

makes a recording of that length, separates it block by block from file to
files and once more in memory, and prints the time and by how much the process
grew beyond what it was after a recording of 64 seconds: that is the model,
what was compiled for it, and one batch of chunks. An hour is to take less than
1.5 GB of this, and a shorter recording no more.

The bands model splits frequencies and costs next to nothing, which leaves the
cutting, joining, reading and writing; `--model=conv_tasnet` is the paper's
size with random parameters.
"""

import pathlib
import tempfile

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.measuring import seconds, verdict
from experiments.benchmarks.side import peak_bytes
from experiments.command import Parser
from jaxsep import audio, inference, models

_MOST_MB = 1500
_RATE_HZ = 8000
_BATCH_SIZE = 8
_CUT = inference.Overlapping(chunk_length=8 * _RATE_HZ)


class Bands(nn.Module):
  """Low and high frequencies as two sources."""

  num_sources: int = 2

  @nn.compact
  def __call__(self, mixture, **options):
    """Maps `[B, T]` to `[B, S, T]`."""
    spectrum = jnp.fft.rfft(mixture)
    is_high = jnp.arange(spectrum.shape[-1]) >= spectrum.shape[-1] // 2
    masks = jnp.stack([~is_high, is_high])[None]
    return jnp.fft.irfft(spectrum[:, None] * masks, mixture.shape[-1])


def make_recording(path: pathlib.Path, length_s: int) -> None:
  """Writes noise that comes and goes as speech does."""
  generator = np.random.default_rng(0)
  with audio.Writer(path, sample_rate_hz=_RATE_HZ, encoding="pcm16") as writer:
    for _ in range(length_s):
      loudness = np.repeat(generator.random(10) > 0.3, _RATE_HZ // 10)
      second = generator.normal(0, 0.1, len(loudness)) * loudness
      writer.write(np.clip(second, -1, 1)[np.newaxis].astype(np.float32))


def separate_file(path, model, variables) -> None:
  """From file to files, block by block."""
  blocks = (block[0] for block in audio.read_blocks(path))
  estimates = inference.separate_blocks(
    model, variables, blocks, cut=_CUT, batch_size=_BATCH_SIZE
  )
  with (
    audio.Writer(path.with_suffix(".1.wav"), sample_rate_hz=_RATE_HZ) as first,
    audio.Writer(path.with_suffix(".2.wav"), sample_rate_hz=_RATE_HZ) as second,
  ):
    for block in estimates:
      first.write(block[:1])
      second.write(block[1:])


def run(options):
  """Prints the table."""
  model = Bands() if options.model == "bands" else models.ConvTasNet()
  variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, _RATE_HZ)))
  length_s = round(60 * options.minutes)
  with tempfile.TemporaryDirectory() as folder:
    short = pathlib.Path(folder) / "short.wav"
    long = pathlib.Path(folder) / "long.wav"
    make_recording(long, length_s)
    # Of as many chunks as fill a batch, so that the same shape is compiled.
    make_recording(short, 8 * _BATCH_SIZE)
    separate_file(short, model, variables)
    before = peak_bytes() / 2**20
    print(
      f"{length_s} s at {_RATE_HZ} Hz, {options.model}, batches of"
      f" {_BATCH_SIZE} chunks of 8 s, {jax.default_backend()};"
      f" {before:.0f} MB before"
    )

    def in_memory():
      mixture = audio.read(long)[0][0]
      inference.separate(
        model, variables, mixture, cut=_CUT, batch_size=_BATCH_SIZE
      )

    for title, work in {
      "file to files, block by block": lambda: separate_file(
        long, model, variables
      ),
      "separate() of the whole recording": in_memory,
    }.items():
      taken = seconds(work)
      grown = peak_bytes() / 2**20 - before
      end = ""
      if length_s >= 3600:
        end = verdict(grown < _MOST_MB, f"below {_MOST_MB} MB for an hour")
      print(
        f"{title:<36}{taken:8.1f} s {length_s / taken:8.0f} x real time"
        f" {grown:6.0f} MB more  {end}"
      )


def main():
  """Runs; an error is one line."""
  parser = Parser(__doc__)
  parser.add("minutes", type=float, default=60.0)
  parser.add("model", default="bands", choices=["bands", "conv_tasnet"])
  parser.run(run)


if __name__ == "__main__":
  main()
