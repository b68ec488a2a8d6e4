"""The commands that work on no files, and what loading them costs."""

import subprocess
import sys

import pytest

import jaxsep
from jaxsep import cli


@pytest.mark.usefixtures("model")
def test_info(capsys):
  assert cli.main(["info", "--model=any"]) == 0
  out = capsys.readouterr().out
  assert "Bands" in out
  assert "8000 Hz" in out
  assert "num_sources" in out
  assert "trained_on" in out


def test_version_and_help(capsys):
  assert cli.main(["--version"]) == 0
  assert capsys.readouterr().out == f"jaxsep {jaxsep.__version__}\n"
  assert cli.main(["separate", "--help"]) == 0
  assert "--output_dir" in capsys.readouterr().out
  assert cli.main([]) == 2
  assert len(capsys.readouterr().err.splitlines()) == 1


def test_help_is_quick_and_nothing_loads_tensorflow():
  code = (
    "import sys; from jaxsep import cli; cli.main(['--help']);"
    " assert not {'jax', 'numpy', 'soundfile'} & set(sys.modules);"
    " import jaxsep.cli._separate, jaxsep.cli._score;"
    " assert 'tensorflow' not in sys.modules"
  )
  subprocess.run(
    [sys.executable, "-c", code], check=True, capture_output=True, timeout=60
  )
