"""How fast training batches are read: seconds of audio per second.

  python -m experiments.benchmarks.data_pipeline \
    --corpus=librispeech:LibriSpeech/train-clean-100

Prints a line for each way of reading: crops at the corpus's own rate, crops
resampled to another, and with a random speed as well. Without --corpus the
training part of the recordings in JAXSEP_DATA is read. Files are read once
before anything is timed, so the disk does not count unless the corpus is
larger than the memory. The last figure, audio per second of processor time,
holds on a busy machine too. The target is 3,000 seconds a second on 4 cores
for FLAC at its own rate of 16 kHz; that line says whether it is met.
"""

import os
import statistics
import time

import numpy as np
from absl import app, flags

from data_pipelines import batches, corpora, stream
from experiments.benchmarks import targets
from experiments.command import run_or_exit

_TARGET, _TARGET_CORES, _TARGET_HZ = 3000, 4, 16000

_CORPUS = flags.DEFINE_string(
  "corpus", None, "Utterances as layout:where, such as librispeech:DIR."
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 16, "Examples of a batch.")
_NUM_SOURCES = flags.DEFINE_integer("num_sources", 2, "Crops of an example.")
_CROP_S = flags.DEFINE_float("crop_s", 4.0, "Seconds of a crop.")
_RATE_HZ = flags.DEFINE_integer("sample_rate_hz", 8000, "Rate to resample to.")
_NUM_THREADS = flags.DEFINE_integer(
  "num_threads", None, "Batches read at a time; one a core if not given."
)
_REPEATS = flags.DEFINE_integer("repeats", 5, "Timings, of which the median.")
_TIME_S = flags.DEFINE_float("time_s", 2.0, "Seconds of a timing.")
_CACHE_DIR = flags.DEFINE_string(
  "cache_dir", None, "Where to remember the scan of the corpus."
)


def measure(corpus, *, rate_hz, speed_range):
  """Seconds of audio per second: median, extremes; and per CPU second."""
  reading = batches.train_batches(
    corpus,
    batch_size=_BATCH_SIZE.value,
    num_sources=_NUM_SOURCES.value,
    crop_length=round(_CROP_S.value * rate_hz),
    sample_rate_hz=rate_hz,
    seed=0,
    speed_range=speed_range,
    num_threads=_NUM_THREADS.value,
  )
  results, per_cpu = [], []
  # The first timing is of batches that were read ahead: not counted.
  for _ in range(_REPEATS.value + 1):
    samples, began, cpu_began = 0, time.perf_counter(), time.process_time()
    while (passed := time.perf_counter() - began) < _TIME_S.value:
      samples += int(next(reading)["length"].sum())
    audio_s = samples / rate_hz
    results.append(audio_s / passed)
    per_cpu.append(audio_s / (time.process_time() - cpu_began))
  reading.close()
  del results[0], per_cpu[0]
  middle = statistics.median(results)
  return middle, min(results), max(results), statistics.median(per_cpu)


def beside_target(corpus, *, rate_hz, own_hz, measured, num_cores):
  """The end of a line: whether the target is met, where it applies."""
  kinds = {os.path.splitext(path)[1].lower() for path in corpus.path}
  if rate_hz != own_hz or own_hz != _TARGET_HZ or kinds != {".flac"}:
    return ""
  target = f"{_TARGET:,} on {_TARGET_CORES} cores"
  if num_cores == _TARGET_CORES:
    return "; " + targets.verdict(measured >= _TARGET, target)
  return f"; target {target}: not decided on {num_cores}"


def run():
  """Prints the table."""
  spec = _CORPUS.value
  if spec is None:
    folder = os.environ.get("JAXSEP_DATA")
    if not folder:
      raise ValueError("give --corpus, or set JAXSEP_DATA to a folder")
    spec = f"librispeech:{folder}/LibriSpeech/train-clean-100"
  corpus = corpora.open_corpus(spec, cache_dir=_CACHE_DIR.value)
  for row in range(len(corpus)):
    if corpus.root:
      corpus.read(row)
  own_hz = int(np.bincount(corpus.rate_hz).argmax())
  num_threads = _NUM_THREADS.value or stream.default_num_threads()
  print(
    f"{spec}: {len(corpus)} utterances, {corpus.seconds / 60:.0f} min at"
    f" {own_hz} Hz; {num_threads} threads, batches of {_BATCH_SIZE.value} x"
    f" {_NUM_SOURCES.value} x {_CROP_S.value:g} s"
  )
  for what, rate_hz, speed_range in (
    (f"as it is, {own_hz} Hz", own_hz, None),
    (f"resampled to {_RATE_HZ.value} Hz", _RATE_HZ.value, None),
    (f"and speed 0.9 to 1.1, {_RATE_HZ.value} Hz", _RATE_HZ.value, (0.9, 1.1)),
  ):
    middle, low, high, per_cpu = measure(
      corpus, rate_hz=rate_hz, speed_range=speed_range
    )
    print(
      f"{what:32} {middle:7,.0f} s of audio per second ({low:,.0f} to"
      f" {high:,.0f}), {per_cpu:,.0f} per CPU second"
      + beside_target(
        corpus,
        rate_hz=rate_hz,
        own_hz=own_hz,
        measured=middle,
        num_cores=stream.default_num_threads(),
      )
    )


def main(argv):
  """Runs; an error is one line."""
  run_or_exit(run, argv)


if __name__ == "__main__":
  app.run(main)
