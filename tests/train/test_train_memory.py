"""Memory that is kept is not asked for again."""

import mmap
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes
import resource
import sys
import numpy as np
from jaxsep.train.memory import keep_freed_memory
# Large pages would hide what is asked for: 41 is PR_SET_THP_DISABLE.
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)
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
      # So that NumPy does not ask for large pages either.
      env={"PYTHONPATH": ":".join(sys.path), "NUMPY_MADVISE_HUGEPAGE": "0"},
    )
    faults[what] = int(result.stdout)
  assert faults["keep"] < 100
  # Of 64 MiB, which are 16,384 pages of 4 KiB.
  assert faults["give back"] > 0.6 * 2**26 / mmap.PAGESIZE
