"""Small corpora on disk, made anew for each test."""

import numpy as np
import pytest
import soundfile

from data_pipelines import corpora


@pytest.fixture(autouse=True)
def cache_home(tmp_path_factory, monkeypatch):
  """A user's cache folder for each test."""
  home = tmp_path_factory.mktemp("cache")
  monkeypatch.setenv("XDG_CACHE_HOME", str(home))
  return home


@pytest.fixture
def write_audio(tmp_path):
  """Writes a file under tmp_path: noise of a level, known by its seed."""

  def write(path, num_samples=4000, rate_hz=8000, seed=0, channels=1, **kwargs):
    rng = np.random.default_rng(seed)
    samples = 0.1 * rng.standard_normal((num_samples, channels))
    path = tmp_path / path
    path.parent.mkdir(parents=True, exist_ok=True)
    kwargs.setdefault("format", "FLAC" if path.suffix == ".flac" else "WAV")
    soundfile.write(path, samples, rate_hz, **kwargs)
    return path

  return write


@pytest.fixture
def librispeech(tmp_path, write_audio):
  """4 speakers, 3 utterances each of 3000 to 5200 samples, with words."""
  for speaker in range(4):
    chapter = f"small/{10 + speaker}/{100 + speaker}"
    stem = f"{10 + speaker}-{100 + speaker}"
    for number in range(3):
      write_audio(
        f"{chapter}/{stem}-{number:04d}.flac",
        num_samples=3000 + 200 * (3 * speaker + number),
        seed=10 * speaker + number,
      )
    lines = [f"{stem}-{n:04d} WORDS {speaker} {n}\n" for n in range(3)]
    (tmp_path / chapter / f"{stem}.trans.txt").write_text("".join(lines))
  return tmp_path / "small"


@pytest.fixture
def corpus(librispeech):
  """`librispeech` as a table."""
  return corpora.scan_librispeech(librispeech)
