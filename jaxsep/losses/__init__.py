"""Training objectives: `(estimate, reference)` to one value per example."""
