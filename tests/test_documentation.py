"""Every public name is documented, and every example in a docstring runs."""

import doctest
import importlib
import inspect
import pkgutil

import numpy as np
import pytest

import data_pipelines
import jaxsep

MODULES = sorted(
  module.name
  for package in (jaxsep, data_pipelines)
  for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
)
PACKAGES = [
  f"jaxsep.{name}"
  for name in (
    "audio",
    "dsp",
    "inference",
    "losses",
    "metrics",
    "model_io",
    "models",
    "simulate",
    "tasks",
    "train",
  )
]


def public_names():
  for package in PACKAGES:
    module = importlib.import_module(package)
    for name in getattr(module, "__all__", ()):
      yield pytest.param(module, name, id=f"{package}.{name}")


@pytest.mark.parametrize("package", PACKAGES)
def test_package_lists_its_public_names(package):
  module = importlib.import_module(package)
  assert module.__all__, f"{package} has no __all__"
  assert list(module.__all__) == sorted(module.__all__)
  assert module.__doc__


@pytest.mark.parametrize(("module", "name"), list(public_names()))
def test_public_name_is_documented(module, name):
  value = getattr(module, name)
  if not (inspect.isclass(value) or inspect.isroutine(value)):
    return  # A constant or a type alias: described where it is defined.
  text = inspect.getdoc(value)
  assert text, f"{name} has no docstring"
  assert text.splitlines()[0].endswith("."), f"{name}: one line, one meaning"
  if inspect.isfunction(value):
    for parameter in inspect.signature(value).parameters:
      assert f"{parameter.lstrip('*')}:" in text, (
        f"{name}: parameter {parameter} is not documented"
      )
    returns = inspect.signature(value).return_annotation
    if returns not in (None, "None", inspect.Signature.empty):
      assert "Returns:" in text or "Yields:" in text, f"{name}: no Returns"


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
  module = importlib.import_module(name)
  with np.printoptions(precision=4, suppress=True):
    result = doctest.testmod(
      module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    )
  assert result.failed == 0
