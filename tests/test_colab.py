"""Every notebook runs from top to bottom, with a tiny model."""

import ast
import importlib.util
import pathlib
import re
import sys

import nbclient
import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

import jaxsep

FOLDER = pathlib.Path(__file__).parents[1] / "colab"

#: Instead of what the cell of parameters says.
PARAMETERS = {
  "harmonic_probes.ipynb": """
NUM_STEPS = 4
CHANGES = [
  "--config.model.num_filters=64",
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
}


@pytest.fixture(params=sorted(FOLDER.glob("*.ipynb")), ids=lambda p: p.stem)
def path(request):
  return request.param


def test_notebook_runs(path, tmp_path, monkeypatch):
  monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
  monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))
  monkeypatch.delenv("XLA_FLAGS", raising=False)
  monkeypatch.setenv("NUMBA_OPT", "0")
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
  assert sum("image/png" in data for data in shown) == 6
  assert sum("text/html" in data for data in shown) == 3  # To listen to.


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
