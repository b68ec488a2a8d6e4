"""Keeps freed memory in the process."""

import ctypes
import platform

# Of `mallopt`, as <malloc.h> numbers them.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
  """Lets this process keep the memory that a training step frees.

  On a CPU, XLA takes the memory of a step's feature maps anew for every step.
  The GNU C library gets blocks of that size from the system and gives them
  back, and the system clears every page of them. Kept, they are there for the
  next step. The process then stays as large as it ever was, and threads share
  one pool, which can slow down many small allocations.

  Call it at the start of a program, before the first computation: threads
  that exist keep their own pools.

  Returns:
    Whether it was done; only the GNU C library, on Linux, can.

  Example:
    >>> keep_freed_memory() in (True, False)
    True
  """
  if platform.libc_ver()[0] != "glibc":
    return False
  mallopt = ctypes.CDLL(None).mallopt
  # One pool for all threads, grown in place, and never cut.
  options = ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1))
  return all([mallopt(option, value) for option, value in options])
