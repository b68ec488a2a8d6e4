r"""Computes and draws the figures of the paper for a trained model.

  python -m experiments.harmonic_probes.figure --figure=3 --model=DIR \
    --corpus=voices --output_dir=figures

  python -m experiments.harmonic_probes.figure --figure=all --model=DIR \
    --causal_model=DIR --spectrogram_model=DIR \
    --mixture_list=experiments/harmonic_probes/lists/libri_test_other_2mix.csv \
    --root=LibriSpeech/test-other --output_dir=figures

A model is a model folder, or the folder of a run, whose best model is taken.
Every figure N leaves figure_N.png, the numbers in it as figure_N.csv and .md,
and what they are means of as figure_N_rows.csv.

SDRs are of the order of a mixture's channels that BSS-eval finds, the one with
the highest mean SIR; all that is compared by SI-SDR is of the order with the
highest mean SI-SDR. (`evaluate` takes one order for all its values, that of the
training loss.)

Figures:
"""

import math
import os
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import jax

from experiments import evaluation, rows
from experiments.command import Parser, run_or_exit, say
from experiments.cores import allowed_cores
from experiments.harmonic_probes.mixtures import open_mixtures
from experiments.harmonic_probes.separator import load_separator
from experiments.harmonic_probes.study import (
  FIGURES,
  OPTIONS,
  Result,
  Study,
  load_probes,
)

_SET_FLAGS = ("corpus", "mixture_list", "root", "split", "cache_dir")
_ENDINGS = (".png", ".csv", ".md", "_rows.csv")


def parser() -> Parser:
  """The flags of the command, those of the probes among them."""
  load_probes()
  lines = [f"  {n}  {FIGURES[n].title}\n" for n in sorted(FIGURES)]
  made = Parser(f"{__doc__}{''.join(lines)}")
  evaluation.add_set_flags(made)
  made.add("model", help="Model folder, or the folder of a run.")
  made.add("causal_model", help="Of figure 6; --model if it is not given.")
  made.add("spectrogram_model", help="Of figures 7 and 8.")
  made.add("figure", default="all", help="Numbers with commas, or all.")
  made.add("output_dir", default="figures", help="Where to.")
  for name, option in OPTIONS.items():
    kind = int if option.default is None else type(option.default)
    made.add(
      name,
      type=kind,
      default=option.default,
      choices=option.choices,
      help=option.help,
    )
  return made


def _value(options, name):
  """The value of a probe's option; a tuple is like its default."""
  default, value = OPTIONS[name].default, getattr(options, name)
  if not isinstance(default, tuple):
    return value
  kind = type(default[0]) if default else str
  return tuple(kind(part) for part in value)


def run(options: Any) -> None:
  """Computes, draws and writes what the flags say, see `parser`."""
  if not options.model:
    raise ValueError("name a model by --model")
  numbers = read_numbers(options.figure)
  evaluation.check_set(options)
  folder = pathlib.Path(options.output_dir)
  models = {
    name: load_separator(where, batch_size=options.batch_size)
    for name in ("model", "causal_model", "spectrogram_model")
    if (where := getattr(options, name))
  }
  model = models["model"]
  study = Study(
    **models,
    open_mixtures=lambda: open_mixtures(
      sample_rate_hz=model.sample_rate_hz,
      num_examples=options.num_examples or 100,
      crop_s=4.0 if options.crop_s is None else options.crop_s,
      num_sources=model.num_sources,
      **{name: getattr(options, name) for name in _SET_FLAGS},
    ),
    batch_size=options.batch_size,
    say=say,
    **{name: _value(options, name) for name in OPTIONS},
  )
  problems = {number: study.problem(number) for number in numbers}
  for problem in problems.values():
    if problem and options.figure != "all":
      raise ValueError(problem)
    if problem:
      say(f"left out: {problem}")
  numbers = [number for number in numbers if not problems[number]]
  for number in numbers:
    FIGURES[number].check(study)
  refuse(folder, numbers, overwrite=options.overwrite)
  if any(FIGURES[number].of_speech for number in numbers):
    _ = study.mixtures  # So that a fault shows early.
  for number in numbers:
    started = time.monotonic()
    result = study.figure(number)
    write(folder, number, result)
    print(rows.markdown(result.table))
    print(
      f"figure {number}: {folder / f'figure_{number}.png'} "
      f"({time.monotonic() - started:.1f} s)\n",
      flush=True,
    )


def read_numbers(text: str) -> list[int]:
  """The numbers that `--figure` means, in order."""
  if text == "all":
    return sorted(FIGURES)
  for name in text.split(","):
    if not name.isdigit() or int(name) not in FIGURES:
      known = ", ".join(map(str, sorted(FIGURES)))
      raise ValueError(
        f"--figure is {name!r}; it is one of {known}, several with commas, "
        "or all"
      )
  return sorted({int(name) for name in text.split(",")})


def refuse(
  folder: pathlib.Path, numbers: Sequence[int], *, overwrite: bool
) -> None:
  """Raises ValueError if figures in the folder would be replaced unasked."""
  if folder.exists() and not folder.is_dir():
    raise ValueError(f"{folder} is a file; choose another --output_dir")
  paths = [path for number in numbers for path in _paths(folder, number)]
  rows.refuse_existing(paths, overwrite=overwrite, flag="--output_dir")


def write(folder: pathlib.Path, number: int, result: Result) -> None:
  """Writes the picture, its numbers, and what they are means of."""
  folder.mkdir(parents=True, exist_ok=True)
  picture, numbers, text, means_of = _paths(folder, number)
  result.figure.savefig(picture, dpi=150)
  rows.write(numbers, result.table)
  rows.write(means_of, result.rows)
  text.write_text(f"{result.caption}\n\n{rows.markdown(result.table)}\n")


def _paths(folder, number):
  """The files of a figure."""
  return [folder / f"figure_{number}{ending}" for ending in _ENDINGS]


def use_cores(batch_size: int) -> None:
  """Makes a CPU device of every core that takes a mixture of a batch.

  Mixtures side by side on a core each take less time than one after the other
  on all: not every operation is spread over cores.
  """
  # XLA takes one of the two, the option or a flag that the caller has set.
  if "host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
    return
  try:
    devices = math.gcd(len(allowed_cores()), batch_size)
    jax.config.update("jax_num_cpu_devices", devices)
  except RuntimeError:  # JAX is in use already.
    pass


def main(argv: Sequence[str] | None = None) -> None:
  """Runs; an error is one line."""
  options = parser().parse(argv)
  use_cores(options.batch_size)
  run_or_exit(lambda: run(options), debug=options.debug)


if __name__ == "__main__":
  main()
