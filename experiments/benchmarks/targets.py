"""What a benchmark's figure is held against."""


def verdict(met: bool, target: str) -> str:
  """The target, and whether it is met.

  Args:
    met: Whether it is.
    target: What was aimed at, such as "at most 0.8".

  Returns:
    The end of a line.
  """
  return f"target {target}: {'met' if met else 'missed'}"
