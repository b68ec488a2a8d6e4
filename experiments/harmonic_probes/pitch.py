"""Average pitch of many signals, tracked in parallel processes.

Each process is started as `python -m experiments.harmonic_probes.pitch`. It
loads nothing but the tracker, which is why this file imports no JAX.
"""

import concurrent.futures
import importlib
import io
import math
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

from experiments.cores import allowed_cores

F0_RANGE_HZ = (60.0, 400.0)
HOP_S = 0.01
FRAME_S = 0.064
#: Frames this far below the loudest one are left out: what leaks from the
#: other speaker must not be tracked.
RANGE_DB = 30.0
# Of a semitone; a tenth, librosa's default, is three times slower.
_RESOLUTION = 0.2


def average_f0(
  signals: np.ndarray,
  *,
  sample_rate_hz: int,
  num_processes: int | None = None,
) -> np.ndarray:
  """Mean and median pitch in Hz, and voiced seconds, of signals: `[N, 3]`.

  The average is over the frames that librosa's pYIN calls voiced and that are
  not `RANGE_DB` below the loudest frame; NaN where there is none.
  `num_processes` share the work: None is one per core, 0 does it in this one.
  """
  signals = np.asarray(signals, np.float32)
  check_installed()
  if num_processes is None:
    num_processes = len(allowed_cores())
  # A process takes seconds to start: not for fewer than four signals.
  num_processes = min(num_processes, math.ceil(len(signals) / 4))
  if num_processes <= 1:
    return _track(signals, sample_rate_hz)
  command = [sys.executable, "-m", __spec__.name, str(sample_rate_hz)]
  root = str(pathlib.Path(__file__).resolve().parents[2])
  path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
  threads = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
  results = np.empty((len(signals), 3))

  def work(number):
    # Interleaved shares, so that all have as much to do.
    np.save(buffer := io.BytesIO(), signals[number::num_processes])
    # librosa keeps compiled functions on disk; processes that write the same
    # files at once break them.
    with tempfile.TemporaryDirectory() as cache:
      here = {"PYTHONPATH": path, "NUMBA_CACHE_DIR": cache}
      done = subprocess.run(
        command,
        input=buffer.getvalue(),
        capture_output=True,
        env=os.environ | threads | here,
      )
    if done.returncode:
      last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
      raise ValueError(f"tracking pitch failed: {' '.join(last)}")
    results[number::num_processes] = np.load(io.BytesIO(done.stdout))

  with concurrent.futures.ThreadPoolExecutor(num_processes) as pool:
    list(pool.map(work, range(num_processes)))
  return results


def check_installed() -> None:
  """Raises ValueError unless the tracker is installed."""
  try:
    importlib.import_module("librosa")
  except ImportError as error:
    raise ValueError("the pitch needs librosa: pip install librosa") from error


def _track(signals, sample_rate_hz):
  """Mean, median and voiced seconds of each signal, `[N, 3]`."""
  found = [_average(signal, sample_rate_hz) for signal in signals]
  return np.array(found).reshape(-1, 3)


def _average(signal, sample_rate_hz):
  """Mean, median and voiced seconds of a signal."""
  if not np.isfinite(signal).all() or not np.abs(signal).max() > 0:
    return np.nan, np.nan, 0.0
  hop, frame = round(HOP_S * sample_rate_hz), round(FRAME_S * sample_rate_hz)
  f0, voiced, _ = importlib.import_module("librosa").pyin(
    signal.astype(np.float64),
    sr=sample_rate_hz,
    fmin=F0_RANGE_HZ[0],
    fmax=F0_RANGE_HZ[1],
    frame_length=frame,
    hop_length=hop,
    resolution=_RESOLUTION,
  )
  level = _levels(signal, frame, hop)[: len(f0)]
  loud = level >= level.max() * 10 ** (-RANGE_DB / 20)
  f0 = f0[: len(level)][voiced[: len(level)] & loud]
  if not len(f0):
    return np.nan, np.nan, 0.0
  return f0.mean(), np.median(f0), len(f0) * HOP_S


def _levels(signal, frame, hop):
  """Root mean square around every hop."""
  power = np.square(np.pad(signal.astype(np.float64), frame // 2))
  total = np.concatenate([[0.0], np.cumsum(power)])
  starts = np.arange(0, len(power) - frame + 1, hop)
  # Differences of sums may fall below zero by rounding.
  mean = np.maximum(total[starts + frame] - total[starts], 0) / frame
  return np.sqrt(mean)


if __name__ == "__main__":
  arriving = np.load(io.BytesIO(sys.stdin.buffer.read()))
  np.save(result := io.BytesIO(), _track(arriving, int(sys.argv[1])))
  sys.stdout.buffer.write(result.getvalue())
