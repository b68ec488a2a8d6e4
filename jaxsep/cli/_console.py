"""Lines for the user on stderr, and what a mistake looks like."""

import contextlib
import sys
from collections.abc import Iterator


class UsageError(Exception):
  """A mistake of the user; one line says what is wrong and how to fix it."""


def complain(error: Exception | str) -> None:
  """Prints one line about what went wrong."""
  line = " ".join(str(error).split())
  print(f"jaxsep: {line}", file=sys.stderr)


def note(line: object) -> None:
  """Prints one line of information."""
  print(f"note: {line}", file=sys.stderr)


@contextlib.contextmanager
def user_mistakes() -> Iterator[None]:
  """Turns the errors that a user can cause into `UsageError`."""
  try:
    yield
  except BrokenPipeError:  # No mistake: see `cli.run`.
    raise
  except OSError as error:
    place = f"{error.filename}: " if error.filename else ""
    raise UsageError(f"{place}{error.strerror or error}") from error
  except (ArithmeticError, ValueError) as error:
    from jaxsep import audio, model_io  # Not for `--help`.

    known = audio.AudioError, model_io.ModelFolderError, FloatingPointError
    if isinstance(error, known):
      raise UsageError(str(error)) from error
    raise


def parse_channel(text: str) -> str | int:
  """`mix`, or an index from 0 for a number from 1."""
  if text == "mix":
    return text
  if text.isdecimal() and int(text) > 0:
    return int(text) - 1
  raise UsageError(f"--channel must be mix or a number from 1, got {text!r}")
