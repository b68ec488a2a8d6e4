"""How the commands end: stray words and errors are one line, not a trace."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import logging

from jaxsep.train import TrainingError


def run_or_exit(
  run: Callable[[], Any], argv: Sequence[str], *, debug: bool = False
) -> Any:
  """Runs, and turns what a user can mend into one line and exit status 1.

  Args:
    run: What the command does once the flags are read.
    argv: What `absl.app.run` gives `main`: the words that are no flags.
    debug: Whether errors are raised, to show where they come from.

  Returns:
    What `run` returns.
  """
  logging.set_verbosity(logging.WARNING)
  try:
    if len(argv) > 1:
      raise ValueError(f"unexpected arguments: {' '.join(argv[1:])}")
    return run()
  except (ValueError, TrainingError, OSError) as error:
    if debug:
      raise
    say(f"error: {' '.join(str(error).split())}")
    sys.exit(1)


def say(line: str) -> None:
  """Prints a line beside the results, where progress is printed too."""
  print(line, file=sys.stderr, flush=True)
