"""Memory that is kept is not asked for again."""

import platform
import subprocess
import sys

import pytest

from jaxsep.train import memory

PROGRAM = """
import resource
import sys
import numpy as np
from jaxsep.train.memory import keep_freed_memory
if sys.argv[1] == "keep":
  assert keep_freed_memory()
faults = []
for _ in range(3):
  faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
  np.ones(2**23).sum()
print(faults[2] - faults[1])
"""


@pytest.mark.skipif(
  platform.libc_ver()[0] != "glibc", reason="needs the GNU C library"
)
def test_freed_memory_is_used_again():
  faults = {}
  for what in ("keep", "give back"):
    result = subprocess.run(
      [sys.executable, "-c", PROGRAM, what],
      capture_output=True,
      text=True,
      check=True,
      # Large pages would hide what is asked for.
      env={"PYTHONPATH": ":".join(sys.path)},
    )
    faults[what] = int(result.stdout)
  # 64 MiB are 16,384 pages of the smallest size.
  assert faults["keep"] < 100 < faults["give back"]


def test_elsewhere_nothing_is_done(monkeypatch):
  monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
  assert not memory.keep_freed_memory()
