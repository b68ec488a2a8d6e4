"""How fast training batches are read: seconds of audio per second.

  python -m experiments.benchmarks.data_pipeline \
    --corpus=librispeech:LibriSpeech/train-clean-100

Prints a line for each way of reading: crops at the corpus's own rate, crops
resampled to another, and with a random speed as well. Without --corpus the
training part of the recordings in JAXSEP_DATA is read. Files are read once
before anything is timed, so that they are in memory. Audio per second of
processor time holds on a busy machine too. The target is 3,000 seconds a second
on 4 cores for FLAC at its own rate of 16 kHz.
"""

import os
import statistics
import time

import numpy as np

from data_pipelines import corpora
from data_pipelines.batches import batches
from data_pipelines.examples import Mixtures
from experiments.benchmarks.measuring import verdict
from experiments.command import Parser
from experiments.cores import allowed_cores

_TARGET, _TARGET_CORES, _TARGET_HZ = 3000, 4, 16000
_OTHER_HZ = 8000
_BATCH_SIZE, _NUM_SOURCES, _CROP_S = 16, 2, 4.0
_REPEATS, _TIME_S = 5, 2.0


def measure(corpus, *, rate_hz, speed_range, num_threads):
  """Seconds of audio per second: median, extremes; and per CPU second."""
  examples = Mixtures(
    corpus,
    num_sources=_NUM_SOURCES,
    crop_length=round(_CROP_S * rate_hz),
    sample_rate_hz=rate_hz,
    seed=0,
    speed_range=speed_range,
  )
  reading = batches(examples, batch_size=_BATCH_SIZE, num_threads=num_threads)
  results, per_cpu = [], []
  # The first timing is of batches that were read ahead: not counted.
  for _ in range(_REPEATS + 1):
    samples, began, cpu_began = 0, time.perf_counter(), time.process_time()
    while (passed := time.perf_counter() - began) < _TIME_S:
      samples += int(next(reading)["length"].sum())
    results.append(samples / rate_hz / passed)
    per_cpu.append(samples / rate_hz / (time.process_time() - cpu_began))
  reading.close()
  del results[0], per_cpu[0]
  middle = statistics.median(results)
  return middle, min(results), max(results), statistics.median(per_cpu)


def run(options):
  """Prints the table."""
  spec = options.corpus
  if spec is None:
    folder = os.environ.get("JAXSEP_DATA")
    if not folder:
      raise ValueError("give --corpus, or set JAXSEP_DATA to a folder")
    spec = f"librispeech:{folder}/LibriSpeech/train-clean-100"
  corpus = corpora.open_corpus(spec)
  for row in range(len(corpus) if corpus.root else 0):
    corpus.read(row)
  own_hz = int(np.bincount(corpus.rate_hz).argmax())
  num_threads = options.num_threads or len(allowed_cores())
  print(
    f"{spec}: {len(corpus)} utterances, {corpus.seconds / 60:.0f} min at"
    f" {own_hz} Hz; {num_threads} threads, batches of {_BATCH_SIZE} x"
    f" {_NUM_SOURCES} x {_CROP_S:g} s"
  )
  kinds = {os.path.splitext(path)[1].lower() for path in corpus.path}
  for what, hz, speed_range in (
    (f"as it is, {own_hz} Hz", own_hz, None),
    (f"resampled to {_OTHER_HZ} Hz", _OTHER_HZ, None),
    (f"and speed 0.9 to 1.1, {_OTHER_HZ} Hz", _OTHER_HZ, (0.9, 1.1)),
  ):
    middle, low, high, per_cpu = measure(
      corpus, rate_hz=hz, speed_range=speed_range, num_threads=num_threads
    )
    end, is_flac = "", hz == own_hz == _TARGET_HZ and kinds == {".flac"}
    if is_flac and num_threads == _TARGET_CORES:
      target = f"{_TARGET:,} on {_TARGET_CORES} cores"
      end = "; " + verdict(middle >= _TARGET, target)
    print(
      f"{what:32} {middle:7,.0f} s of audio per second ({low:,.0f} to"
      f" {high:,.0f}), {per_cpu:,.0f} per CPU second{end}"
    )


def main():
  """Runs; an error is one line."""
  parser = Parser(__doc__)
  parser.add("corpus", help="Utterances as layout:where.")
  parser.add("num_threads", type=int, help="One a core by default.")
  parser.run(run)


if __name__ == "__main__":
  main()
