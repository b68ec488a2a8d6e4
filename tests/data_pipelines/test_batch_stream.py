"""The threads that read ahead: they end when they should."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

from data_pipelines.stream import Stream


def test_stream_ends_and_starts_anew():
  stream = Stream(
    lambda step: {"x": np.full(step, step)}, first=2, stop=6, num_threads=3
  )
  for _ in range(2):
    assert [len(batch["x"]) for batch in stream] == [2, 3, 4, 5]
  iterator = iter(stream)
  next(iterator)
  iterator.close()
  assert list(iterator) == []


def test_stream_raises_the_error_itself_at_its_step():
  class OddError(Exception):
    pass

  def read(step):
    if step == 3:
      raise OddError("step 3")
    return {"x": np.array(step)}

  iterator = iter(Stream(read, first=0, stop=None, num_threads=4))
  assert [int(next(iterator)["x"]) for _ in range(3)] == [0, 1, 2]
  for _ in range(2):
    with pytest.raises(OddError, match="step 3"):
      next(iterator)


def test_closed_from_another_thread():
  def read(step):
    time.sleep(0.2)
    return {"x": np.array(step)}

  iterator = iter(Stream(read, first=0, stop=None, num_threads=1))
  threading.Timer(0.05, iterator.close).start()
  assert list(iterator) == []


def test_dropped_iterators_stop_reading():
  reads = []

  def read(step):
    reads.append(step)
    time.sleep(0.01)
    return {"x": np.array(step)}

  for _ in range(5):
    next(iter(Stream(read, first=0, stop=None, num_threads=2)))
  time.sleep(0.3)
  count = len(reads)
  time.sleep(0.3)
  assert len(reads) == count


def test_process_ends_while_reading():
  """However a program stops, threads that read do not keep it alive."""
  code = """
    import signal, sys, time
    import numpy as np
    from data_pipelines.stream import Stream

    # Shells start what runs in the background without it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def read(step):
      time.sleep(0.02)
      return {"x": np.zeros((100, 1000))}

    iterator = iter(Stream(read, first=0, stop=None, num_threads=4))
    for step in range(100_000):
      next(iterator)
      if step == 5:
        print("ready", flush=True)
        if sys.argv[1] == "exit":
          sys.exit(0)
  """
  root = pathlib.Path(__file__).parents[2]
  processes = {
    end: subprocess.Popen(
      [sys.executable, "-c", textwrap.dedent(code), end],
      env=os.environ | {"PYTHONPATH": str(root)},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )
    for end in ("exit", "interrupt")
  }
  for end, process in processes.items():
    assert process.stdout.readline() == "ready\n"
    if end == "interrupt":
      process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert ("KeyboardInterrupt" in errors) == (end == "interrupt")
    assert process.returncode == (0 if end == "exit" else -signal.SIGINT)


@pytest.fixture
def said(tmp_path):
  """What a process that reads batches says on standard error."""
  # tfds comes before TensorFlow, as when a corpus is packed.
  code = """if True:
    from data_pipelines import build_tfds
    from data_pipelines.stream import Stream

    list(Stream(lambda step: {}, first=0, stop=3, num_threads=1))
  """
  root = pathlib.Path(__file__).parents[2]
  environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"}
  environment.pop("TF_CPP_MIN_LOG_LEVEL")

  def run():
    done = subprocess.run(
      [sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE
    )
    return done.stderr.decode()

  return run


def test_tensorflow_does_not_greet(said):
  assert said() == ""


def test_what_tensorflow_says_before_it_fails_is_shown(said, tmp_path):
  (tmp_path / "tensorflow.py").write_text(
    "import os; os.write(2, b'why'); raise ImportError('cannot be loaded')"
  )
  lines = said()
  assert "why" in lines and "cannot be loaded" in lines
