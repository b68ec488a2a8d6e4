"""The code is formatted and linted."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent


@pytest.mark.parametrize("command", [("check",), ("format", "--check")])
def test_ruff_is_content(command):
  result = subprocess.run(
    [sys.executable, "-m", "ruff", *command, "."],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert result.returncode == 0, result.stdout
