"""TensorFlow, kept away from the accelerators."""

import functools

import tensorflow as tf


@functools.cache
def hide_accelerators() -> None:
  """Keeps TensorFlow from taking the memory that the model needs.

  To be called before anything that makes TensorFlow look for devices.
  """
  for kind in ("GPU", "TPU"):
    try:
      tf.config.set_visible_devices([], kind)
    except RuntimeError:  # The caller has set TensorFlow up already.
      return
