"""Corpora and tf.data pipelines; NumPy batches out."""

import os

# TensorFlow greets with notes on accelerators and instruction sets that nothing
# here uses. Its errors are shown.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
