"""Every public name is documented, and every example in a docstring runs."""

import doctest
import importlib
import importlib.util
import inspect
import pathlib
import pkgutil
import re

import jax
import numpy as np
import pytest

import data_pipelines
import jaxsep

ROOT = pathlib.Path(__file__).parents[1]

MODULES = sorted(
  module.name
  for package in (jaxsep, data_pipelines)
  for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
)
PACKAGES = """
  jaxsep.audio jaxsep.cli jaxsep.conversion jaxsep.dsp jaxsep.inference
  jaxsep.json_values jaxsep.losses jaxsep.metrics jaxsep.model_io jaxsep.models
  jaxsep.simulate jaxsep.tasks jaxsep.text jaxsep.train data_pipelines.batches
  data_pipelines.corpora data_pipelines.examples data_pipelines.mixture_lists
  data_pipelines.stream data_pipelines.tfds_corpora data_pipelines.voices
""".split()
# The example needs a package that the extra "test" does not install.
APART = ("pesq",)


def public_names():
  for package in PACKAGES:
    module = importlib.import_module(package)
    for name in getattr(module, "__all__", ()):
      yield pytest.param(module, name, id=f"{package}.{name}")


def public_methods():
  """Methods and properties that are written here; generated ones are not."""
  seen = set()
  for package in PACKAGES:
    module = importlib.import_module(package)
    for class_name in module.__all__:
      public_class = getattr(module, class_name)
      if not inspect.isclass(public_class) or public_class in seen:
        continue
      seen.add(public_class)
      for name in dir(public_class):
        if name.startswith("_"):
          continue
        value = inspect.getattr_static(public_class, name)
        if isinstance(value, (classmethod, staticmethod)):
          value = value.__func__
        function = getattr(value, "fget", getattr(value, "func", value))
        top = getattr(function, "__module__", "").partition(".")[0]
        if inspect.isfunction(function) and top in ("jaxsep", "data_pipelines"):
          yield pytest.param(value, id=f"{package}.{class_name}.{name}")


@pytest.mark.parametrize("package", PACKAGES)
def test_package_lists_its_public_names(package):
  module = importlib.import_module(package)
  assert module.__all__, f"{package} has no __all__"
  # As ruff sorts them: constants come first.
  order = sorted(module.__all__, key=lambda name: (not name.isupper(), name))
  assert list(module.__all__) == order
  assert module.__doc__
  for name in module.__all__:
    assert hasattr(module, name), f"{package} has no {name}"


@pytest.mark.parametrize(
  "name", [module for module in MODULES if module.startswith("data_pipelines")]
)
def test_list_of_public_names_is_checked(name):
  """A module that lists its names is among those that are checked."""
  private = name.rpartition(".")[2].startswith("_")
  listed = hasattr(importlib.import_module(name), "__all__")
  assert private or listed == (name in PACKAGES)


def check_first_line(value):
  text = inspect.getdoc(value)
  assert text and text.splitlines()[0].endswith("."), "one line, one meaning"
  return text


@pytest.mark.parametrize(("module", "name"), list(public_names()))
def test_public_name_is_documented(module, name):
  value = getattr(module, name)
  if not (inspect.isclass(value) or inspect.isroutine(value)):
    return  # A constant or a type alias: described where it is defined.
  text = check_first_line(value)
  if not inspect.isfunction(value):
    return
  signature = inspect.signature(value)
  for parameter in signature.parameters:
    assert f"{parameter}:" in text, f"{parameter} is not documented"
  if signature.return_annotation not in (None, "None", signature.empty):
    assert "Returns:" in text or "Yields:" in text, f"{name}: no Returns"


@pytest.mark.parametrize("method", list(public_methods()))
def test_public_method_is_documented(method):
  check_first_line(method)


def run_examples(module, *, apart):
  """Runs the examples of a module, those in APART or the rest; counts lines."""
  runner = doctest.DocTestRunner(
    optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
  )
  with np.printoptions(precision=4, suppress=True):
    for test in doctest.DocTestFinder().find(module):
      if (test.name.rpartition(".")[2] in APART) == apart:
        runner.run(test)
  assert runner.failures == 0
  return runner.tries


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
  run_examples(importlib.import_module(name), apart=False)


@pytest.mark.skipif(
  importlib.util.find_spec("pesq") is None,
  reason="needs pesq, which pip compiles: a C compiler",
)
def test_example_of_pesq_runs():
  module = importlib.import_module("jaxsep.metrics._perceptual")
  assert run_examples(module, apart=True)


def test_python_in_the_readme_runs(tmp_path, monkeypatch):
  source = (ROOT / "README.md").read_text()
  # Small models in the place of those of the usual size.
  small = "num_blocks=1, num_repeats=1"
  for usual, quick in [
    ("TemporalConvNet(", f"TemporalConvNet({small}, "),
    ("num_sources=2)", f"masker=models.TemporalConvNet({small}))"),
    ('"two_speakers_8k"', '"small"'),
  ]:
    assert usual in source
    source = source.replace(usual, quick)
  blocks = re.findall(r"^```python\n(.*?)^```", source, re.M | re.S)
  assert blocks
  masker = jaxsep.models.TemporalConvNet(num_blocks=1, num_repeats=1)
  model = jaxsep.models.ConvTasNet(masker=masker)
  variables = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 800), "f4"))
  jaxsep.save(tmp_path / "small", model, variables, sample_rate_hz=8000)
  monkeypatch.chdir(tmp_path)
  names = {}
  for block in blocks:
    exec(compile(block, "README.md", "exec"), names)
  assert names["permutation"].tolist() == [[1, 0]]
  assert names["sources"].shape == (2, 8000)
