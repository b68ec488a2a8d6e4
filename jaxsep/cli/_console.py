"""Lines for the user on stderr, and what a mistake looks like."""

import contextlib
import sys
import warnings
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
  from jaxsep import audio

  try:
    yield
  except (audio.AudioError, FloatingPointError) as error:
    raise UsageError(str(error)) from error
  except OSError as error:
    place = f"{error.filename}: " if error.filename else ""
    raise UsageError(f"{place}{error.strerror or error}") from error


@contextlib.contextmanager
def warnings_as_notes(quiet: bool) -> Iterator[None]:
  """Prints warnings as notes, without the place in the code."""

  def show(message, *unused_place, **unused_options):
    if not quiet:
      note(message)

  with warnings.catch_warnings():
    warnings.simplefilter("always", UserWarning)
    warnings.showwarning = show
    yield


def load_model(folder: str):
  """The model in a folder, or one line about what is wrong with it."""
  from jaxsep import model_io

  try:
    return model_io.load(folder)
  except model_io.ModelFolderError as error:
    raise UsageError(str(error)) from error


def parse_channel(text: str) -> str | int:
  """`mix`, or an index from 0 for a number from 1."""
  if text == "mix":
    return text
  if text.isdecimal() and int(text) > 0:
    return int(text) - 1
  raise UsageError(f"--channel must be mix or a number from 1, got {text!r}")
