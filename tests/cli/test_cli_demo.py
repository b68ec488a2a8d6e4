"""`jaxsep demo`, with the model and the recordings that ship."""

import pathlib
import sys

import numpy as np
import pytest
from two_bands import RATE, Bands

import jaxsep
from experiments.pretrained import make_demo_voices
from jaxsep import audio, cli, model_io

SHIPPED = pathlib.Path(jaxsep.__file__).parent / "demo"
SIGNALS = ["mixture.wav", "mixture_1.wav", "mixture_2.wav"]
SIGNALS += ["speaker_1.wav", "speaker_2.wav"]


@pytest.fixture
def demo(tmp_path, capsys):
  """Runs the command; returns exit code, stdout and stderr lines."""

  def call(*words):
    code = cli.main(["demo", f"--output_dir={tmp_path}/out", *words])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()

  return call


@pytest.fixture
def quick(monkeypatch):
  """A model that needs no compiling, in the place of the one that ships."""
  loaded = model_io.LoadedModel(Bands(), {}, RATE)
  monkeypatch.setattr(model_io, "load", lambda folder: loaded)


def entries(folder):
  return sorted(entry.name for entry in folder.iterdir())


def test_the_shipped_model_separates(demo, tmp_path):
  code, out, err = demo()
  assert code == 0
  assert len(err) == 1 and "separating with two_speakers_8k" in err[0]
  assert entries(tmp_path / "out") == sorted([*SIGNALS, "separation.png"])
  rows = [line.split() for line in out if line.startswith("speaker_")]
  assert [row[0] for row in rows] == ["speaker_1.wav", "speaker_2.wav"]
  assert {row[1] for row in rows} == {"mixture_1.wav", "mixture_2.wav"}
  for row in rows:
    before, after, improvement = map(float, row[2:])
    assert improvement == pytest.approx(after - before, abs=0.11)
    assert abs(before) < 1 and improvement > 5
  mixture, *_, first, second = (
    audio.read(tmp_path / "out" / name)[0] for name in SIGNALS
  )
  np.testing.assert_allclose(mixture, first + second, atol=1e-6)


@pytest.mark.usefixtures("quick")
def test_nothing_is_overwritten_unasked(demo, tmp_path):
  (tmp_path / "out").mkdir()
  code, out, err = demo()
  assert (code, out, len(err)) == (2, [], 1)
  assert "exists already; choose another --output_dir" in err[0]
  assert entries(tmp_path / "out") == []
  assert demo("--overwrite")[0] == demo("--overwrite")[0] == 0


@pytest.mark.usefixtures("quick")
def test_without_matplotlib(demo, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
  code, _, err = demo()
  assert code == 0
  assert err == ["note: a figure needs matplotlib: pip install matplotlib"]
  assert entries(tmp_path / "out") == SIGNALS


def test_its_recordings_are_built_in_voices(tmp_path):
  make_demo_voices.main([f"--output_dir={tmp_path}"])
  assert entries(tmp_path) == entries(SHIPPED)
  for path in SHIPPED.iterdir():
    assert path.stat().st_size < 100_000
    made, rate = audio.read(tmp_path / path.name)
    shipped, shipped_rate = audio.read(path)
    assert rate == shipped_rate
    # Libraries may round the last bit of 16 another way.
    np.testing.assert_allclose(made, shipped, atol=2**-14)
