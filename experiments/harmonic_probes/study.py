"""What a probe is given, what it gives back, and the registry of all probes.

A probe is one file in `probes/`. It declares the flags that it takes by
`option` and the figures that it computes by `figure`, and no other file has to
know of it:

  option("num_clicks", 5, "Clicks in each stimulus.")

  @figure(10, "clicks in the wrong channel")
  def clicks(study: Study, model: Separator) -> Result:
    rows = ...  # study.mixtures, study.native, study["num_clicks"]
    return Result(picture, table, rows, "Clicks.")
"""

import dataclasses
import functools
import importlib
import pkgutil
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiments.harmonic_probes.mixtures import ProbeSet
from experiments.harmonic_probes.separator import Separator, load_separator
from experiments.rows import Row


@dataclasses.dataclass(frozen=True)
class Result:
  """A matplotlib figure, the numbers in it, and what these are means of."""

  figure: Any
  table: Sequence[Row]
  rows: Sequence[Row]
  caption: str


class Study:
  """A model, mixtures of speech, and options; what is costly is computed once.

  Attributes:
    model: The separator that figures are of, unless they say otherwise.
    causal_model: Of the figures of a causal model; `model` if there is none.
    spectrogram_model: Of the figures of a spectrogram model, or None.
    say: Told of the progress.
  """

  def __init__(
    self,
    model: Separator,
    open_mixtures: Callable[[], ProbeSet],
    *,
    causal_model: Separator | None = None,
    spectrogram_model: Separator | None = None,
    batch_size: int = 4,
    say: Callable[[str], None] = lambda line: None,
    **options: Any,
  ):
    """Takes what is probed, and how (`OPTIONS`); opens the mixtures once."""
    load_probes()
    if unknown := sorted(set(options) - set(OPTIONS)):
      raise ValueError(
        f"no probe has the option {unknown[0]!r}; there are "
        f"{', '.join(sorted(OPTIONS))}"
      )
    self.model, self.causal_model = model, causal_model or model
    self.spectrogram_model = spectrogram_model
    self.say = say
    self._open, self._options = open_mixtures, options
    self._batch_size = batch_size

  def __getitem__(self, name: str) -> Any:
    """Value of an option."""
    return self._options.get(name, OPTIONS[name].default)

  @functools.cached_property
  def mixtures(self) -> ProbeSet:
    """The mixtures of speech."""
    mixtures = self._open()
    self.say(f"{len(mixtures)} mixtures of speech{mixtures.left_out}")
    return mixtures

  @functools.cached_property
  def native(self) -> np.ndarray:
    """Estimates for the mixtures as they are, `[N, S, T]`, unsorted."""
    return self.model(self.mixtures.mixture)

  @functools.cache  # noqa: B019
  def load(self, folder: str) -> Separator:
    """Another model, read once."""
    return load_separator(folder, batch_size=self._batch_size)

  def caption(self, what: str) -> str:
    """A line that says what was probed with which speech."""
    mixtures = self.mixtures
    seconds = mixtures.sources.shape[-1] / mixtures.sample_rate_hz
    return (
      f"{what}: {self.model.name}, {len(mixtures)} mixtures of "
      f"{seconds:g} s{mixtures.left_out}."
    )

  def problem(self, number: int) -> str:
    """Why a figure cannot be computed for these models; "" if it can."""
    entry = FIGURES[number]
    model = getattr(self, entry.of)
    if model is None:
      return (
        f"figure {number} is of a SpectrogramTasNet: name one by --{entry.of}"
      )
    if entry.num_sources not in (None, model.num_sources):
      return (
        f"figure {number} is of models with {entry.num_sources} outputs, but "
        f"{model.name} has {model.num_sources}"
      )
    return ""

  def figure(self, number: int) -> Result:
    """Computes and draws a figure; ValueError if these models have none."""
    if problem := self.problem(number):
      raise ValueError(problem)
    entry = FIGURES[number]
    return entry.compute(self, getattr(self, entry.of))


Compute = Callable[[Study, Separator], Result]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
  """How a figure is computed.

  Attributes:
    title: A few words for the help of the command.
    compute: Computes and draws it.
    of: The model that it is of, an attribute of `Study`.
    of_speech: Whether it needs mixtures of speech.
    num_sources: Outputs that the model must have; any number if None.
    check: Called with the study before anything is computed; raises
      ValueError if an option is wrong.
  """

  title: str
  compute: Compute
  of: str = "model"
  of_speech: bool = False
  num_sources: int | None = None
  check: Callable[[Study], Any] = lambda study: None


@dataclasses.dataclass(frozen=True)
class Option:
  """A flag of a probe."""

  default: Any
  help: str
  choices: Sequence[str] | None


#: All figures by their numbers, and all options by their names.
FIGURES: dict[int, Figure] = {}
OPTIONS: dict[str, Option] = {}


def figure(
  number: int, title: str, **fields: Any
) -> Callable[[Compute], Compute]:
  """Decorates the function that computes a figure of a study and a model.

  Args:
    number: Its number on the page and on the command line.
    title: See `Figure`.
    **fields: The other fields of `Figure`.
  """

  def register(compute):
    if number in FIGURES:
      raise ValueError(f"there are two figures {number}")
    FIGURES[number] = Figure(title=title, compute=compute, **fields)
    return compute

  return register


def option(
  name: str, default: Any, text: str, choices: Sequence[str] | None = None
) -> None:
  """Declares a flag of a probe: a string, a number, or a tuple of either."""
  OPTIONS[name] = Option(default, text, choices)


def load_probes() -> None:
  """Imports every file in `probes/`, which fills the registry."""
  from experiments.harmonic_probes import probes

  for module in pkgutil.iter_modules(probes.__path__, f"{probes.__name__}."):
    importlib.import_module(module.name)
