"""How commands read their flags, and how they end: mistakes are one line.

Flags are absl's. They belong to a command, not to the process, so that any
number of commands can be imported together.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags, logging

from jaxsep.train import TrainingError


class _Tuple(flags.ListParser):
  """Reads values with commas in between."""

  def __init__(self, default):
    super().__init__()
    self._kind = type(default[0]) if default else str

  def parse(self, argument: Any) -> Any:
    """A tuple; ValueError if a part is of another type."""
    return tuple(self._kind(part) for part in super().parse(argument))


class Parser:
  """The absl flags of one command, whose documentation `--help` prints."""

  def __init__(self, doc: str | None):
    self._doc = doc or ""
    self._values = flags.FlagValues()
    self._required: dict[str, str] = {}
    self.add("help", type=bool, help="Print this, and end.")
    self.add("flagfile", help="Read more flags from this file.")
    self.add("debug", type=bool, help="Show where an error comes from.")

  def add(
    self,
    name: str,
    *,
    help: str = "",
    type: Any = str,
    default: Any = None,
    choices: Sequence[str] | None = None,
    least: float | None = None,
    required: bool = False,
  ) -> None:
    """Defines a flag; None is the default of most types.

    A tuple is written with commas, its values like the first of the default; a
    flag of the type list may be given several times. A required one may not be
    left out.
    """
    if required:
      self._required[name] = help
    values: dict[str, Any] = {"flag_values": self._values}
    if choices is not None:
      flags.DEFINE_enum(name, default, choices, help, **values)
    elif type in (int, float):
      define: Any = flags.DEFINE_integer if type is int else flags.DEFINE_float
      define(name, default, help, lower_bound=least, **values)
    elif type is tuple:
      texts = [str(part) for part in default]
      flags.DEFINE(_Tuple(default), name, texts, help, **values)
    elif type is bool:
      flags.DEFINE_bool(name, default or False, help, **values)
    elif type is list:
      flags.DEFINE_multi_string(name, default or [], help, **values)
    else:
      flags.DEFINE_string(name, default, help, **values)

  def parse(
    self, argv: Sequence[str] | None = None, *, unknown: str | None = None
  ) -> Any:
    """Reads the words after the command, or those of the process.

    `words` of the result are those that begin with `unknown`, e.g. "--config.".
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    try:
      argv = self._values.read_flags_from_files(argv, force_gnu=False)
      words = [w for w in argv if unknown and w.startswith(unknown)]
      known = [w for w in argv if w not in words]
      if rest := self._values([sys.argv[0], *known])[1:]:
        raise flags.Error(f"unexpected arguments: {' '.join(rest)}")
    except (flags.Error, OSError) as error:
      say(f"error: {' '.join(str(error).split())}")
      sys.exit(1)
    if self._values.help:
      print(f"{self._doc}\n{self._values.get_help()}")
      sys.exit(0)
    for name, meaning in self._required.items():
      if not getattr(self._values, name):
        say(f"error: --{name} is missing: {meaning}")
        sys.exit(1)
    self._values.__dict__["words"] = words
    return self._values

  def run(
    self, work: Callable[[Any], Any], argv: Sequence[str] | None = None
  ) -> Any:
    """Reads the flags and works with them; see `run_or_exit`."""
    values = self.parse(argv)
    return run_or_exit(lambda: work(values), debug=values.debug)


def run_or_exit(run: Callable[[], Any], *, debug: bool = False) -> Any:
  """Runs; a user's mistake is one line and exit status 1, raised to debug.

  So is a package that is not installed.
  """
  logging.set_verbosity(logging.WARNING)
  try:
    return run()
  except (ImportError, ValueError, TrainingError, OSError) as error:
    if debug:
      raise
    say(f"error: {' '.join(str(error).split())}")
    sys.exit(1)


def say(line: str) -> None:
  """Prints a line beside the results, where progress is printed too."""
  print(line, file=sys.stderr, flush=True)
