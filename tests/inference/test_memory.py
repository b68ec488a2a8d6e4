"""Memory does not grow with the recording."""

import json
import os
import subprocess
import sys

from stream_checks import conv_tasnet, masker, with_variables

import jaxsep

# What a user runs, in a process of its own; prints the most memory it held.
SEPARATE = """
import json, pathlib, sys
import numpy as np
from jaxsep import audio, cli

folder, seconds, rate = pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:])
noise = np.random.default_rng(0).normal(0, 0.1, (2, rate)).astype(np.float32)
with audio.Writer(
  folder / f"{seconds}.wav", sample_rate_hz=rate, num_channels=2
) as writer:
  for second in range(seconds):
    writer.write(np.roll(noise, 37 * second, axis=1))
words = [f"{folder}/{seconds}.wav", f"--model={folder}/model", "--quiet"]
code = cli.main(["separate", *words, f"--output_dir={folder}"])
outputs = [folder / f"{seconds}_{number}.wav" for number in (1, 2)]
status = pathlib.Path("/proc/self/status").read_text()
print(json.dumps({
  "code": code,
  "lengths": [audio.info(path).num_samples for path in outputs],
  "peak_mb": int(status.split("VmHWM:")[1].split()[0]) / 1024,
}))
"""


def peak_of_command(folder, seconds, rate=44100):
  result = subprocess.run(
    [sys.executable, "-c", SEPARATE, str(folder), str(seconds), str(rate)],
    # All compile: what is in the cache takes less memory.
    env=os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"},
    check=True,
    stdout=subprocess.PIPE,
    text=True,
    timeout=300,
  )
  measured = json.loads(result.stdout.splitlines()[-1])
  assert measured["code"] == 0
  assert measured["lengths"] == [seconds * rate] * 2
  return measured["peak_mb"]


def test_command_takes_the_same_memory_for_long_recordings(tmp_path):
  """Of 3 minutes in stereo, the samples alone are 64 MB, as are the outputs.

  Each of them kept as a whole would show.
  """
  model, variables, _ = with_variables(conv_tasnet(masker(causal=False)))
  jaxsep.save(tmp_path / "model", model, variables, sample_rate_hz=8000)
  growth = peak_of_command(tmp_path, 180) - peak_of_command(tmp_path, 20)
  assert growth < 40
