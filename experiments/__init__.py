"""Training jobs, evaluations and benchmarks."""
