"""Corpora and tf.data pipelines; NumPy batches out."""

import os

# TensorFlow greets with warnings about accelerators that nothing here uses.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
