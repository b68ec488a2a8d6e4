"""What both sides of a benchmark answer to peers.py; no JAX, no PyTorch."""

import json
import pathlib
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

_STATUS = pathlib.Path("/proc/self/status")


def signals(batch: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
  """Mixtures `[B, T]` and references `[B, 2, T]`, the same for both sides."""
  generator = np.random.default_rng(0)
  return (
    generator.standard_normal((batch, samples), np.float32),
    generator.standard_normal((batch, 2, samples), np.float32),
  )


def peak_bytes() -> int:
  """The most memory that this process has held so far."""
  if _STATUS.exists():
    # The other source counts what the parent process held before the start.
    status = dict(x.split(":", 1) for x in _STATUS.read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024
  scale = 1 if sys.platform == "darwin" else 1024
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def answer(
  prepare: Callable[..., Callable[[], Any]],
  peak: Callable[[], int],
  **others: Callable[[], Any],
) -> None:
  """Answers requests, a JSON object a line, until the input ends."""
  work: Any = None
  for line in sys.stdin:
    request = json.loads(line)
    do, found = request.pop("do"), None
    if do == "prepare":
      work = prepare(sys.argv[1], **request)
      for _ in range(2):
        work()
      # The peak of the process starts over; that of a GPU cannot.
      pathlib.Path("/proc/self/clear_refs").write_text("5")
    elif do == "run":
      start = time.perf_counter()
      work()
      found = {"seconds": time.perf_counter() - start, "peak": peak()}
    else:
      found = others[do]()
    print(json.dumps(found), flush=True)
