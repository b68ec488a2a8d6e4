"""How commands read their flags, and how they end: mistakes are one line.

Flags belong to a parser that a command makes when it starts, so any number of
commands can be imported in one process.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from absl import logging

from jaxsep.train import TrainingError


class Parser(argparse.ArgumentParser):
  """A parser whose `--help` is a module's documentation.

  Flags are not abbreviated. A mistake is one line and exit status 1.
  """

  def __init__(self, doc: str | None):
    """Takes the documentation of the command."""
    super().__init__(
      description=doc,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
    )
    self.add_argument(
      "--debug", action="store_true", help="Show where an error comes from."
    )

  def error(self, message: str) -> Any:
    """Ends with one line."""
    say(f"error: {message}")
    sys.exit(1)


def at_least(least: float, kind: Callable = int) -> Callable[[str], Any]:
  """The type of a flag that is a number of at least so much."""

  def read(text: str) -> Any:
    value = kind(text)
    if not value >= least:
      raise argparse.ArgumentTypeError(f"{text} is less than {least}")
    return value

  read.__name__ = kind.__name__
  return read


def run_or_exit(run: Callable[[], Any], *, debug: bool = False) -> Any:
  """Runs, and turns what a user can mend into one line and exit status 1.

  Args:
    run: What the command does once the flags are read.
    debug: Whether errors are raised, to show where they come from.

  Returns:
    What `run` returns.
  """
  logging.set_verbosity(logging.WARNING)
  try:
    return run()
  except (ValueError, TrainingError, OSError) as error:
    if debug:
      raise
    say(f"error: {' '.join(str(error).split())}")
    sys.exit(1)


def say(line: str) -> None:
  """Prints a line beside the results, where progress is printed too."""
  print(line, file=sys.stderr, flush=True)
