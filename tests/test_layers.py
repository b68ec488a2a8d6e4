"""Who may import whom."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent

# A part of the library may import the parts listed with it, and itself.
_GROUND = {"typing", "json_values"}
_MIDDLE = {"simulate", "losses", "metrics", "models", "audio", "model_io"}
ALLOWED = {
  "typing": set(),
  "json_values": set(),
  "dsp": _GROUND,
  "simulate": _GROUND | {"dsp"},
  "losses": _GROUND | {"dsp"},
  "metrics": _GROUND | {"dsp"},
  "models": _GROUND | {"dsp"},
  "audio": _GROUND | {"dsp"},
  "model_io": _GROUND | {"dsp", "models"},
  "conversion": _GROUND | {"dsp", "models", "text"},
  "text": set(),
  "inference": _GROUND | _MIDDLE | {"dsp", "text"},
  "tasks": _GROUND | _MIDDLE | {"dsp", "inference", "text"},
  "train": _GROUND | _MIDDLE | {"dsp", "inference", "tasks"},
  "cli": _GROUND
  | _MIDDLE
  | {"dsp", "inference", "tasks", "conversion", "text"},
  "__init__": {"model_io"},
}

# Packages that only some places may import.
KEPT_IN = {
  "tensorflow": ("data_pipelines/",),
  "tensorflow_datasets": ("data_pipelines/",),
  "orbax": ("jaxsep/train/checkpoint.py",),
  "absl": (
    "jaxsep/train/",
    "jaxsep/cli/",
    "experiments/",
    "data_pipelines/",
  ),
  "jax": ("jaxsep/", "experiments/"),
  "sentencepiece": ("jaxsep/text/",),
  "soundfile": ("jaxsep/audio/", "data_pipelines/"),
  "tensorboardX": ("jaxsep/train/writer.py",),
  "torch": ("jaxsep/conversion/_checkpoints.py", "experiments/benchmarks/"),
}

PARTS = {path.stem for path in (ROOT / "jaxsep").iterdir()}
FILES = sorted(
  path.relative_to(ROOT)
  for top in ("jaxsep", "data_pipelines", "experiments")
  for path in (ROOT / top).rglob("*.py")
)


def imports(path):
  """Every imported module, dotted, of a file; also within functions."""
  for node in ast.walk(ast.parse((ROOT / path).read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{path}: relative import"
      for alias in node.names:
        assert alias.name != "*", f"{path}: import *"
        yield f"{node.module}.{alias.name}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_stay_in_their_layer(path):
  top = path.parts[0]
  for name in imports(path):
    parts = name.split(".")
    for package, places in KEPT_IN.items():
      if parts[0] == package:
        assert str(path).startswith(places), f"{path} imports {package}"
    if top == "jaxsep":
      assert parts[0] not in ("data_pipelines", "experiments", "tests"), name
      if parts[0] == "jaxsep" and len(parts) > 1:
        part = path.parts[1].removesuffix(".py")
        # What is no part is a name of jaxsep/__init__.py.
        assert parts[1] in ALLOWED[part] | {part} or parts[1] not in PARTS, (
          f"{path} imports {name}"
        )
    if top == "data_pipelines":
      assert parts[0] not in ("jax", "jaxsep", "experiments"), name


@pytest.mark.parametrize("path", FILES, ids=str)
def test_private_files_stay_private(path):
  for name in imports(path):
    parts = name.split(".")
    if parts[0] not in ("jaxsep", "data_pipelines", "experiments"):
      continue
    for depth, part in enumerate(parts[:-1] if len(parts) > 1 else parts):
      if part.startswith("_") and not part.startswith("__"):
        folder = pathlib.Path(*parts[:depth])
        assert path.parent == folder, f"{path} imports private {name}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_drawer_files(path):
  assert path.stem not in ("utils", "common", "helpers", "misc"), path
