"""Memory does not grow with the recording."""

import json
import subprocess
import sys

import pytest
from stream_checks import conv_tasnet, masker, with_variables

import jaxsep

# What a user runs, in a process of its own; prints the most memory it held.
SEPARATE = """
import json, pathlib, sys
import numpy as np
from jaxsep import audio, cli
from experiments.benchmarks.long_recording import peak_megabytes

model, folder, seconds, rate = sys.argv[1:]
path = pathlib.Path(folder) / f"of_{seconds}_s.wav"
seconds, rate = int(seconds), int(rate)
noise = np.random.default_rng(0).normal(0, 0.1, (2, rate)).astype(np.float32)
with audio.Writer(
  path, sample_rate_hz=rate, encoding="pcm16", num_channels=2
) as writer:
  for second in range(seconds):
    writer.write(np.roll(np.clip(noise, -1, 1), 37 * second, axis=1))
code = cli.main(
  ["separate", str(path), "--model", model, "--output_dir", f"{folder}/out",
   "--quiet"]
)
lengths = [
  audio.info(pathlib.Path(folder) / "out" / f"{path.stem}_{number}.wav")
  .num_samples
  for number in (1, 2)
]
print(json.dumps(
  {"code": code, "lengths": lengths, "peak_mb": peak_megabytes()}
))
"""


def last_line(*command):
  result = subprocess.run(
    [sys.executable, *map(str, command)],
    check=True,
    capture_output=True,
    text=True,
    timeout=300,
  )
  return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
  """A folder with a model that is small, but of the real kind."""
  network, variables, _ = with_variables(conv_tasnet(masker(causal=False)))
  folder = tmp_path_factory.mktemp("model") / "toy"
  jaxsep.save(folder, network, variables, sample_rate_hz=8000)
  return folder


def peak_of_command(model, folder, *, seconds, rate=44100):
  measured = last_line("-c", SEPARATE, model, folder, seconds, rate)
  assert measured["code"] == 0
  assert measured["lengths"] == [seconds * rate] * 2
  return measured["peak_mb"]


def test_command_takes_the_same_memory_for_long_recordings(model, tmp_path):
  """Of 10 minutes in stereo, the samples alone are 212 MB, as are the outputs.

  Each of them kept as a whole would show.
  """
  short = peak_of_command(model, tmp_path, seconds=30)
  long = peak_of_command(model, tmp_path, seconds=600)
  assert long - short < 80


@pytest.mark.slow
def test_an_hour_in_memory():
  measured = last_line(
    "-m",
    "experiments.benchmarks.long_recording",
    "--json",
    "--minutes=60",
    "--batch_size=8",
  )
  assert measured["same_length"]
  assert measured["blocks_grown_mb"] < 120
  # The recording and the two sources are 345 MB of these.
  assert measured["memory_grown_mb"] < 700
