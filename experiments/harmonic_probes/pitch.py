"""Average pitch of many signals, tracked in parallel processes.

A process of its own is started as `python -m experiments.harmonic_probes.pitch`
and loads nothing but the tracker, which is why this file imports no JAX.
"""

import concurrent.futures
import importlib
import io
import math
import os
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

from experiments.cores import allowed_cores

TRACKERS = ("pyin", "harvest")
_PACKAGES = {"pyin": "librosa", "harvest": "pyworld"}

F0_RANGE_HZ = (60.0, 400.0)
HOP_S = 0.01
FRAME_S = 0.064
#: Frames so far below the loudest one are left out: what leaks from the other
#: speaker is not to be tracked.
RANGE_DB = 30.0
# Of a semitone; a tenth, which librosa takes by itself, is three times slower.
_RESOLUTION = 0.2


def average_f0(
  signals: np.ndarray,
  *,
  sample_rate_hz: int,
  tracker: str = "pyin",
  num_processes: int | None = None,
) -> np.ndarray:
  """Average fundamental frequency of each signal.

  The average is over the frames that the tracker calls voiced and that are
  not `RANGE_DB` below the loudest frame of the signal.

  Args:
    signals: Signals, `[N, T]`.
    sample_rate_hz: Sample rate.
    tracker: "pyin" of librosa, or "harvest" of WORLD, which needs pyworld.
    num_processes: How many to share the work; as many as there are cores if
      None. 0 does it in this one.

  Returns:
    Mean in Hz, median in Hz and voiced seconds of each signal, `[N, 3]`. NaN
    for the first two where nothing is voiced.
  """
  signals = np.asarray(signals, np.float32)
  check_tracker(tracker)
  if num_processes is None:
    num_processes = len(allowed_cores())
  # A process takes seconds to start; a handful of signals is not worth it.
  num_processes = min(num_processes, math.ceil(len(signals) / 4))
  if num_processes <= 1:
    return _track(signals, sample_rate_hz, tracker)
  command = [sys.executable, "-m", __spec__.name, str(sample_rate_hz), tracker]
  environment = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
  root = os.path.join(os.path.dirname(__file__), os.pardir, os.pardir)
  path = [os.path.abspath(root), environment.get("PYTHONPATH", "")]
  environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
  # Every so-manieth signal, so that all have as much to do.
  shares = [signals[n::num_processes] for n in range(num_processes)]
  results = np.empty((len(signals), 3))

  def work(share):
    np.save(buffer := io.BytesIO(), share)
    # librosa's compiled functions are kept on disk; processes that write them
    # there at once leave what later crashes those that read it.
    with tempfile.TemporaryDirectory() as cache:
      done = subprocess.run(
        command,
        input=buffer.getvalue(),
        capture_output=True,
        env=environment | {"NUMBA_CACHE_DIR": cache},
      )
    if done.returncode:
      last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
      raise ValueError(f"tracking pitch failed: {' '.join(last)}")
    return np.load(io.BytesIO(done.stdout))

  with concurrent.futures.ThreadPoolExecutor(num_processes) as pool:
    for n, found in enumerate(pool.map(work, shares)):
      results[n::num_processes] = found
  return results


def check_tracker(tracker: str) -> None:
  """Raises ValueError unless a tracker is known and installed."""
  if tracker not in TRACKERS:
    raise ValueError(
      f"tracker is {tracker!r}; it is one of {', '.join(TRACKERS)}"
    )
  package = _PACKAGES[tracker]
  try:
    importlib.import_module(package)
  except ImportError as error:
    # pyworld imports what recent versions of setuptools no longer have.
    hint = package if error.name == package else f"'{error.name}'"
    if error.name == "pkg_resources":
      hint = "'setuptools<81'"
    raise ValueError(
      f"the tracker {tracker} needs {package}: pip install {hint}"
    ) from None


def _track(signals, sample_rate_hz, tracker):
  """Mean, median and voiced seconds of each signal, `[N, 3]`."""
  found = [_average(signal, sample_rate_hz, tracker) for signal in signals]
  return np.array(found).reshape(-1, 3)


def _average(signal: np.ndarray, sample_rate_hz: int, tracker: str) -> Any:
  """Mean, median and voiced seconds of a signal."""
  if not np.isfinite(signal).all() or not np.abs(signal).max() > 0:
    return np.nan, np.nan, 0.0
  hop, frame = round(HOP_S * sample_rate_hz), round(FRAME_S * sample_rate_hz)
  find = {"pyin": _pyin, "harvest": _harvest}[tracker]
  f0 = find(signal.astype(np.float64), sample_rate_hz, hop, frame)
  level = _levels(signal, frame, hop)[: len(f0)]
  f0 = f0[: len(level)]
  loud = level >= level.max() * 10 ** (-RANGE_DB / 20)
  f0 = f0[np.isfinite(f0) & (f0 > 0) & loud]
  if not len(f0):
    return np.nan, np.nan, 0.0
  return f0.mean(), np.median(f0), len(f0) * HOP_S


def _pyin(signal, sample_rate_hz, hop, frame):
  """Frequency of each frame, NaN where unvoiced."""
  low_hz, high_hz = F0_RANGE_HZ
  f0, voiced, _ = importlib.import_module("librosa").pyin(
    signal,
    sr=sample_rate_hz,
    fmin=low_hz,
    fmax=high_hz,
    frame_length=frame,
    hop_length=hop,
    resolution=_RESOLUTION,
  )
  return np.where(voiced, f0, np.nan)


def _harvest(signal, sample_rate_hz, hop, frame):
  """Frequency of each frame, 0 where unvoiced."""
  del frame  # Its windows follow the pitch.
  low_hz, high_hz = F0_RANGE_HZ
  f0, _ = importlib.import_module("pyworld").harvest(
    signal,
    sample_rate_hz,
    f0_floor=low_hz,
    f0_ceil=high_hz,
    frame_period=1000 * hop / sample_rate_hz,
  )
  return f0


def _levels(signal, frame, hop):
  """Root mean square around every hop."""
  power = np.square(np.pad(signal.astype(np.float64), frame // 2))
  total = np.concatenate([[0.0], np.cumsum(power)])
  starts = np.arange(0, len(power) - frame + 1, hop)
  # Differences of sums may fall below zero by rounding.
  mean = np.maximum(total[starts + frame] - total[starts], 0) / frame
  return np.sqrt(mean)


def main() -> None:
  """Tracks the signals that come in, as a process of its own."""
  rate, tracker = int(sys.argv[1]), sys.argv[2]
  signals = np.load(io.BytesIO(sys.stdin.buffer.read()))
  np.save(buffer := io.BytesIO(), _track(signals, rate, tracker))
  sys.stdout.buffer.write(buffer.getvalue())


if __name__ == "__main__":
  main()
