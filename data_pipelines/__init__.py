"""Corpora and tf.data pipelines; NumPy batches out."""
