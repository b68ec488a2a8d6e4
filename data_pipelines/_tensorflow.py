"""TensorFlow, without its greetings and kept away from the accelerators."""

import contextlib
import functools
import os
import sys
import tempfile


@contextlib.contextmanager
def _held_back():
  """Holds back what is written to standard error; shows it on a failure.

  TensorFlow's C++ parts announce on start, past every setting, that there is
  no CUDA: half a dozen lines between a user and a progress bar.
  """
  try:
    sys.stderr.flush()
    kept = os.dup(2)
  except (AttributeError, OSError, ValueError):  # No standard error.
    yield
    return
  with tempfile.TemporaryFile() as held:
    os.dup2(held.fileno(), 2)
    try:
      yield
    except BaseException:
      held.seek(0)
      os.write(kept, held.read())
      raise
    finally:
      os.dup2(kept, 2)
      os.close(kept)


with _held_back():
  import tensorflow as tf


@functools.cache
def hide_accelerators() -> None:
  """Keeps TensorFlow from taking the memory that the model needs.

  To be called before anything that makes TensorFlow look for devices.
  """
  with _held_back():
    for kind in ("GPU", "TPU"):
      try:
        tf.config.set_visible_devices([], kind)
      except RuntimeError:  # The caller has set TensorFlow up already.
        return
    tf.config.list_logical_devices()


__all__ = ["hide_accelerators", "tf"]
