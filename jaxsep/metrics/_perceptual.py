"""Perceptual scores."""


def stoi(estimate, reference, *, sample_rate_hz, extended=False):
  """Short-time objective intelligibility."""
  raise NotImplementedError


def pesq(estimate, reference, *, sample_rate_hz, mode=None):
  """Perceptual evaluation of speech quality."""
  raise NotImplementedError
