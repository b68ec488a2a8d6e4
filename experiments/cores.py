"""The cores that a process may use, where the system says so. No JAX here."""

import os


def allowed_cores() -> list[int]:
  """The numbers of the cores that this process may use.

  Returns:
    In order; those of the machine where the system holds no process to some.

  Example:
    >>> len(allowed_cores()) >= 1
    True
  """
  if hasattr(os, "sched_getaffinity"):
    return sorted(os.sched_getaffinity(0))
  return list(range(os.cpu_count() or 1))
