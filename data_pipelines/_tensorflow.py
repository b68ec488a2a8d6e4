"""TensorFlow without messages at import and without accelerators."""

import contextlib
import functools
import os
import sys
import tempfile


@contextlib.contextmanager
def _held_back():
  """Holds back standard error, and shows it on a failure.

  TensorFlow's C++ parts report that there is no CUDA, whatever the settings.
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
  """Keeps TensorFlow from taking the model's memory; call this first."""
  with _held_back():
    for kind in ("GPU", "TPU"):
      try:
        tf.config.set_visible_devices([], kind)
      except RuntimeError:  # The caller has set TensorFlow up already.
        return
    tf.config.list_logical_devices()


__all__ = ["hide_accelerators", "tf"]
