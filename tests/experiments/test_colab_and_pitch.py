"""The probe of pitch, and the notebooks, which run from top to bottom.

In one file, because `--dist loadfile` gives it to one worker: librosa's tracker
takes 20 seconds to compile, and the notebook finds it compiled.
"""

import ast
import base64
import importlib.util
import pathlib
import re
import sys
import types

import nbclient
import nbformat
import numpy as np
import pytest
from IPython.core.inputtransformer2 import TransformerManager

import jaxsep
from experiments.harmonic_probes import pitch
from experiments.harmonic_probes.probes import f0_order
from jaxsep import audio

RATE_HZ = 8000
RATE = {"sample_rate_hz": RATE_HZ}
FOLDER = pathlib.Path(__file__).parents[2] / "colab"

#: Instead of what the cell of parameters says.
PARAMETERS = {
  "harmonic_probes.ipynb": """
NUM_STEPS = 4
CHANGES = [
  "--config.model.stft.n_fft=64",
  "--config.model.stft.hop_length=32",
  "--config.model.masker.bottleneck_channels=8",
  "--config.model.masker.hidden_channels=16",
  "--config.model.masker.skip_channels=8",
  "--config.model.masker.num_blocks=1",
  "--config.model.masker.num_repeats=1",
  "--config.optimizer.name=adam",
  "--config.train.eval_every=4",
  "--config.data.num_voices=4",
  "--config.data.num_valid_voices=3",
  "--config.data.num_utterances=1",
  "--config.data.crop_s=0.5",
  "--config.data.valid_crop_s=0.5",
  "--config.data.num_valid_examples=2",
]
MODEL, SPECTROGRAM_MODEL, CORPUS = None, None, "voices"
NUM_MIXTURES, NUM_SEEDS = 2, 1

# One filter of each kind.
from experiments.harmonic_probes.probes import filters
for name in ("LOWPASS", "HIGHPASS", "BANDSTOP"):
  setattr(filters, name, getattr(filters, name)[:1])
""",
  "separation_for_asr.ipynb": """
RECOGNIZER, SEPARATOR, NUM_STEPS = None, "two_speakers_8k", 2
MINUTES, CONDITIONS = 0.2, "OV40"
CHANGES = [
  "--config.model.size=16",
  "--config.model.num_layers=1",
  "--config.model.feedforward_size=16",
  "--config.data.batch_size=2",
  "--config.data.num_buckets=1",
  "--config.data.num_voices=4",
  "--config.data.num_valid_voices=2",
  "--config.data.num_utterances=25",
  "--config.data.num_valid_examples=2",
]
""",
  "separate.ipynb": """
SOURCE, SECONDS, MODEL = "upload", 1, "two_speakers_8k"
""",
}
#: How many pictures a notebook shows; each plays three signals.
NUM_PICTURES = {
  "harmonic_probes.ipynb": 6,
  "separate.ipynb": 1,
  "separation_for_asr.ipynb": 1,
}


# Pitch.


def hum(f0_hz, seconds=0.6, level=0.1):
  step = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
  waves = [np.sin(2 * np.pi * k * f0_hz * step + k) / k for k in range(1, 8)]
  return (level * np.sum(waves, axis=0)).astype("f4")


@pytest.fixture(scope="module")
def channels():
  pairs = [(110, 210), (220, 120), (100, 130), (300, 140), (130, 260)]
  return np.stack([[hum(f) for f in pair] for pair in pairs])


@pytest.fixture(scope="module")
def pitch_rows(channels):
  return f0_order.probe_f0_order(
    channels, list("abcde"), sample_rate_hz=RATE_HZ, num_processes=0
  )


def test_pitch_and_order_are_found(pitch_rows):
  for row, (first, second) in zip(
    pitch_rows, [(110, 210), (220, 120), (100, 130)], strict=False
  ):
    assert row["f0_1_hz"] == pytest.approx(first, rel=0.02)
    assert row["median_f0_2_hz"] == pytest.approx(second, rel=0.02)
    assert row["log2_ratio"] == pytest.approx(np.log2(second / first), abs=0.03)
    assert row["voiced_1_s"] > 0.3
  mean, median = f0_order.summarize_f0_order(pitch_rows)
  assert (mean["average"], median["average"]) == ("mean", "median")
  assert mean["share_lower_in_channel_1"] == pytest.approx(0.6)
  assert mean["share_one_order"] == pytest.approx(0.6)
  flipped = [{**row, "log2_ratio": -row["log2_ratio"]} for row in pitch_rows]
  mean, _ = f0_order.summarize_f0_order(flipped)
  assert mean["share_lower_in_channel_1"] == pytest.approx(0.4)
  assert mean["share_one_order"] == pytest.approx(0.6)


def test_quiet_leak_of_the_other_speaker_is_not_tracked():
  signals = np.stack(
    [np.concatenate([hum(120), hum(300, level=x)]) for x in (0.001, 0.1)]
  )
  leak, alike = pitch.average_f0(
    signals, sample_rate_hz=RATE_HZ, num_processes=0
  )
  assert leak[0] == pytest.approx(120, rel=0.03) and alike[0] > 180


def test_silence_and_nan_have_no_pitch(channels):
  odd = np.stack([np.zeros(4800), np.full(4800, np.nan)]).astype("f4")
  found = pitch.average_f0(odd, sample_rate_hz=RATE_HZ, num_processes=0)
  assert np.isnan(found[:, :2]).all() and (found[:, 2] == 0).all()
  rows = f0_order.probe_f0_order(
    np.stack([channels[0], odd]),
    ["a", "b"],
    sample_rate_hz=RATE_HZ,
    num_processes=0,
  )
  mean, _ = f0_order.summarize_f0_order(rows)
  assert (mean["mixtures"], mean["not_voiced"]) == (1, 1)
  assert np.isnan(f0_order.summarize_f0_order(rows[1:])[0]["share_one_order"])


@pytest.mark.slow
def test_processes_find_what_one_finds(channels, pitch_rows):
  shared = f0_order.probe_f0_order(
    channels, list("abcde"), sample_rate_hz=RATE_HZ, num_processes=2
  )
  assert shared == pitch_rows


def test_failed_process_is_told_in_one_line(monkeypatch, channels):
  monkeypatch.setattr(pitch.sys, "executable", "/bin/false")
  with pytest.raises(ValueError, match="tracking pitch failed"):
    pitch.average_f0(
      channels.reshape(10, -1), sample_rate_hz=RATE_HZ, num_processes=2
    )


def test_tracker_must_be_there(monkeypatch):
  monkeypatch.setitem(sys.modules, "librosa", None)
  with pytest.raises(ValueError, match="pip install librosa"):
    pitch.check_installed()


# Notebooks.


@pytest.fixture(params=sorted(FOLDER.glob("*.ipynb")), ids=lambda p: p.stem)
def path(request):
  return request.param


def test_notebook_runs(path, tmp_path, monkeypatch):
  monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
  monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))
  monkeypatch.delenv("XLA_FLAGS", raising=False)
  notebook = nbformat.read(path, as_version=4)
  cells = [
    c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])
  ]
  assert len(cells) == 1
  cells[0].source = PARAMETERS[path.name]
  nbclient.NotebookClient(
    notebook,
    timeout=300,
    kernel_name="python3",
    resources={"metadata": {"path": str(tmp_path)}},
  ).execute()
  shown = [
    output.data
    for cell in notebook.cells
    for output in cell.get("outputs", [])
    if output.output_type == "display_data"
  ]
  assert sum("image/png" in data for data in shown) == NUM_PICTURES[path.name]
  assert sum("text/html" in data for data in shown) == 3  # To listen to.


class Colab:
  """What Colab offers: files of the user, and JavaScript."""

  def __init__(self, chosen=(), heard=None):
    self.files = self.output = self
    self.upload = lambda: dict.fromkeys(chosen, b"")
    self.heard, self.script, self.downloads = heard, "", []

  def eval_js(self, script):
    self.script = script
    return self.heard

  def download(self, name):
    self.downloads.append(name)


@pytest.fixture
def take_recording(monkeypatch, tmp_path):
  """Runs the cell that gets the recording; returns its variables."""
  monkeypatch.chdir(tmp_path)
  model = types.SimpleNamespace(sample_rate_hz=RATE_HZ)
  monkeypatch.setattr(jaxsep, "load", lambda name: model)

  def run(source, colab=None):
    cells = nbformat.read(FOLDER / "separate.ipynb", as_version=4).cells
    parts = [
      next(cell.source for cell in cells if text in cell.source)
      for text in ("import base64", "RECORD = ")
    ]
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    place = {"get_ipython": Shell, "pathlib": pathlib}
    place |= {"SOURCE": source, "SECONDS": 3, "MODEL": "any"}
    for part in parts:
      exec(TransformerManager().transform_cell(part), place)
    return place

  return run


def test_recording_is_uploaded_recorded_or_named(take_recording, tmp_path):
  signal = hum(120)
  audio.write(tmp_path / "mine.wav", np.stack([signal, signal]), **RATE)
  for source, colab in [("upload", Colab(["mine.wav"])), ("mine.wav", None)]:
    taken = take_recording(source, colab)
    np.testing.assert_allclose(taken["mixture"], signal, atol=1e-6)
    assert taken["path"].name == "mine.wav"
  samples = np.round(32767 * np.repeat(signal, 2)).astype("<i2").tobytes()
  heard = {"rate": 16000, "samples": base64.b64encode(samples).decode()}
  colab = Colab(heard=heard)
  taken = take_recording("microphone", colab)
  assert colab.script.count("(3)") == 1
  assert np.corrcoef(taken["mixture"], signal)[0, 1] > 0.99
  assert np.std(taken["mixture"]) == pytest.approx(np.std(signal), rel=0.02)


def test_recording_that_cannot_be_had(take_recording):
  with pytest.raises(RuntimeError, match="No file was chosen"):
    take_recording("upload", Colab())
  with pytest.raises(RuntimeError, match="cannot be used: NotAllowedError"):
    take_recording("microphone", Colab(heard={"problem": "NotAllowedError"}))
  with pytest.raises(audio.AudioError, match="no such file"):
    take_recording("missing.wav")


def test_notebook_installs_what_there_is(path):
  lines = [
    line
    for cell in nbformat.read(path, as_version=4).cells
    for line in cell.source.splitlines()
    if "pip install" in line
  ]
  (extras,) = re.findall(r'"\{REPOSITORY\}\[(.+)\]"', " ".join(lines))
  (found,) = (
    node.value
    for node in ast.walk(ast.parse((FOLDER.parent / "setup.py").read_text()))
    if isinstance(node, ast.keyword) and node.arg == "extras_require"
  )
  assert isinstance(found, ast.Dict)
  known = {ast.literal_eval(key) for key in found.keys if key is not None}
  assert len(lines) == 1 and set(extras.split(",")) <= known


class Shell:
  """Notes the commands that a cell would run."""

  def __init__(self):
    self.commands = []

  def system(self, command):
    self.commands.append(command)

  def run_line_magic(self, name, line):
    self.commands.append(f"{name} {line}")


@pytest.fixture
def first_cell(monkeypatch, tmp_path):
  """Runs the first cell where nothing of jaxsep is but its package."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", list(sys.path))
  find = importlib.util.find_spec
  monkeypatch.setattr(
    importlib.util,
    "find_spec",
    lambda name: None if name == "experiments" else find(name),
  )

  def run(path):
    source = next(
      cell.source
      for cell in nbformat.read(path, as_version=4).cells
      if cell.cell_type == "code"
    )
    shell = Shell()
    code = TransformerManager().transform_cell(source)
    exec(code, {"get_ipython": lambda: shell})
    return shell.commands

  return run


def test_notebook_clones_the_project_where_there_is_no_checkout(
  path, first_cell, monkeypatch
):
  monkeypatch.setattr(jaxsep, "__url__", None, raising=False)
  with pytest.raises(RuntimeError, match="__url__ is not set"):
    first_cell(path)
  monkeypatch.setattr(jaxsep, "__url__", "https://a.org/jaxsep")
  clone, _ = first_cell(path)
  assert clone.startswith("git clone -q {URL}")


def test_notebook_finds_the_checkout_above_it(path, first_cell, monkeypatch):
  monkeypatch.chdir(FOLDER)
  (install,) = first_cell(path)
  assert install.startswith("pip install")


def test_notebook_is_stored_without_results(path):
  for cell in nbformat.read(path, as_version=4).cells:
    assert not cell.get("outputs") and not cell.get("execution_count")
