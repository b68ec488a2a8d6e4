"""Scores: `(estimate, reference)` to one value per example."""
