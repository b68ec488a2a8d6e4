"""Audio files that another library wrote."""

import pytest
import soundfile
from noise_signals import RATE, noise


@pytest.fixture
def make(tmp_path):
  """Writes a file with soundfile itself; returns its path."""

  def write(name="x.wav", signal=None, rate=RATE, **options):
    signal = noise() if signal is None else signal
    soundfile.write(tmp_path / name, signal.T, rate, **options)
    return tmp_path / name

  return write
