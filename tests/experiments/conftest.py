"""Corpora of a few files, as fixtures."""

import os

import numpy as np
import pytest
from small_corpora import noise_of, write

# Quick to compile; at 0, the pitch tracker would run ten times slower.
os.environ.setdefault("NUMBA_OPT", "1")


@pytest.fixture
def refused(capsys):
  """Runs a command that ends with one line; returns that."""

  def run(main, *args, **options):
    with pytest.raises(SystemExit) as stopped:
      main(*args, **options)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert stopped.value.code == 1 and line.startswith("error: ")
    return line

  return run


@pytest.fixture
def librispeech(tmp_path):
  """4 speakers with 2 utterances each, as LibriSpeech places them."""
  root = tmp_path / "LibriSpeech"
  for speaker in range(4):
    for number in range(2):
      seed = 10 * speaker + number
      name = f"{10 + speaker}-1-{number:04d}.flac"
      place = root / f"test-tiny/{10 + speaker}/1/{name}"
      write(place, noise_of(seed, 9000 + 100 * seed))
  return f"librispeech:{root}/test-tiny"


@pytest.fixture
def premixed(tmp_path):
  """A writer of trees of mixtures as WSJ0-2mix has them."""

  def make(splits, *, rate_hz=8000, mode="min", num_samples=8000, count=2):
    for split_number, split in enumerate(splits):
      folder = tmp_path / f"2speakers/wav{rate_hz // 1000}k/{mode}/{split}"
      for i in range(count):
        parts = [
          noise_of(100 * split_number + 10 * i + s, num_samples) for s in (0, 1)
        ]
        for name, part in zip(
          ("s1", "s2", "mix"), (*parts, sum(parts)), strict=True
        ):
          write(folder / name / f"m{i}.wav", part, rate_hz)
    return f"wsj0_mix:{tmp_path}"

  return make


@pytest.fixture
def folders(tmp_path):
  """Corpora of noises and of rooms."""
  for i in range(2):
    write(tmp_path / f"noises/{i}.wav", noise_of(70 + i, 6000))
    room = noise_of(80 + i, 800) * np.exp(-np.arange(800) / 100)
    room[5] = 0.9
    write(tmp_path / f"rooms/{i}.wav", room)
  return f"folder:{tmp_path}/noises", f"folder:{tmp_path}/rooms"
