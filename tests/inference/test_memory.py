"""Memory does not grow with the recording."""

import json
import subprocess
import sys

import pytest


def measure(*options):
  command = [
    sys.executable,
    "-m",
    "experiments.benchmarks.long_recording",
    "--json",
    *options,
  ]
  result = subprocess.run(
    command, check=True, capture_output=True, text=True, timeout=300
  )
  measured = json.loads(result.stdout.splitlines()[-1])
  assert measured["same_length"]
  return measured


def test_memory_is_constant_from_file_to_files():
  """In half an hour the outputs alone would be 115 MB."""
  measured = measure("--minutes=30", "--batch_size=1", "--noin_memory")
  assert measured["blocks_grown_mb"] < 60


@pytest.mark.slow
def test_an_hour():
  measured = measure("--minutes=60", "--batch_size=8")
  assert measured["blocks_grown_mb"] < 120
  # The recording and the two sources are 345 MB of these.
  assert measured["memory_grown_mb"] < 700
