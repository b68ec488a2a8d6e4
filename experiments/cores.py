"""The cores that a process may use, where the system says so. No JAX here."""

import os


def allowed_cores() -> list[int]:
  """The numbers of the cores that this process may use, in order."""
  if hasattr(os, "sched_getaffinity"):
    return sorted(os.sched_getaffinity(0))
  return list(range(os.cpu_count() or 1))
