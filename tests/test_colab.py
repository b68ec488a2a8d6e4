"""Every notebook runs from top to bottom, with a tiny model."""

import ast
import pathlib
import re

import nbclient
import nbformat
import pytest

FOLDER = pathlib.Path(__file__).parents[1] / "colab"

#: Instead of what the cell of parameters says.
PARAMETERS = {
  "harmonic_probes.ipynb": """
RECIPE = dict(
  model=dict(
    num_filters=16,
    filter_length=32,
    bottleneck_channels=8,
    hidden_channels=16,
    skip_channels=8,
    num_blocks=2,
    num_repeats=1,
  ),
  num_steps=4,
  crop_s=0.5,
  num_valid=2,
  num_speakers=4,
  utterances_per_speaker=1,
)
MODEL, SPECTROGRAM_MODEL, CORPUS = None, None, "voices"
NUM_MIXTURES, NUM_SEEDS = 2, 1
""",
}


def notebooks():
  return sorted(FOLDER.glob("*.ipynb"))


def test_there_are_notebooks_and_each_is_run():
  assert [path.name for path in notebooks()] == sorted(PARAMETERS)


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path, monkeypatch):
  monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
  monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))
  monkeypatch.setenv("XLA_FLAGS", "")
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


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
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


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_notebook_is_stored_without_results(path):
  for cell in nbformat.read(path, as_version=4).cells:
    assert not cell.get("outputs") and not cell.get("execution_count")
