"""A model that needs no training, and the command that separates with it."""

import numpy as np
import pytest
import soundfile
from two_bands import RATE, Bands

from jaxsep import cli, model_io


@pytest.fixture
def model(monkeypatch):
  loaded = model_io.LoadedModel(Bands(), {}, RATE)
  monkeypatch.setattr(model_io, "load", lambda folder: loaded)
  return loaded


@pytest.fixture
def make(tmp_path):
  def write(name, samples, rate=RATE, **options):
    soundfile.write(tmp_path / name, np.transpose(samples), rate, **options)
    return str(tmp_path / name)

  return write


@pytest.fixture
def separate(model, tmp_path, capsys):
  """Runs the command; returns exit code, stdout and stderr lines."""

  def call(*words):
    usual = ("--model=any", "--chunk_s=1", f"--output_dir={tmp_path}/out")
    code = cli.main(["separate", *usual, *words])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()

  return call
