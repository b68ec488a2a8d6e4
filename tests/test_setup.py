"""What `pip install` is asked to install."""

import pathlib

import pytest
import setuptools
from packaging.requirements import Requirement

SETUP = pathlib.Path(__file__).parents[1] / "setup.py"
PLATFORMS = [("linux", "x86_64"), ("darwin", "arm64")]


@pytest.fixture
def given(monkeypatch):
  """The arguments of `setuptools.setup`."""
  given = {}
  monkeypatch.setattr(setuptools, "setup", given.update)
  monkeypatch.chdir(SETUP.parent)
  exec(compile(SETUP.read_text(), str(SETUP), "exec"), {"__file__": str(SETUP)})
  return given


@pytest.fixture
def wanted(given):
  """Requirements by extra; those of the core stand under ''."""
  return {"": given["install_requires"], **given["extras_require"]}


def names(requirements, system, machine):
  """Names of the packages that are installed on a platform."""
  environment = {"sys_platform": system, "platform_machine": machine}
  parsed = map(Requirement, requirements)
  return {
    found.name
    for found in parsed
    if not found.marker or found.marker.evaluate(environment)
  }


@pytest.mark.parametrize(("system", "machine"), PLATFORMS)
def test_requirements_hold_on_each_platform(wanted, system, machine):
  found = {k: names(v, system, machine) for k, v in wanted.items()}
  assert all(found.values())
  tensorflow = found["train"] & {"tensorflow", "tensorflow-cpu"}
  assert tensorflow == {"tensorflow-cpu" if system == "linux" else "tensorflow"}
  # These compile: `make test` tries them apart.
  needed = found["train"] | found["eval"] | found["asr"]
  assert needed <= found["test"] | {"pesq", "meeteval"}


def test_models_and_recordings_are_installed(given):
  names = ("packages", "package_data")
  build = setuptools.Distribution({name: given[name] for name in names})
  command = build.get_command_obj("build_py")
  command.finalize_options()
  installed = {
    pathlib.Path(source, name)
    for _, source, _, files in command._get_data_files()
    for name in files
  }
  for folder in ("jaxsep/demo", "jaxsep/pretrained"):
    there = {path for path in pathlib.Path(folder).rglob("*") if path.is_file()}
    assert there and there <= installed
