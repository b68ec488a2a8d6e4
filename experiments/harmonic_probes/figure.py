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

SDRs are of the order of a mixture's channels that BSS-eval finds, with the
highest mean SIR; all that is compared by SI-SDR is of the order with the
highest mean SI-SDR. (`evaluate` takes the order of the training loss.)

Figures:
"""

import math
import os
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import jax

from experiments import rows, separation
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
  separation.add_set_flags(made.add)
  model_help = "Model folder, or the folder of a run."
  made.add("model", required=True, help=model_help)
  made.add("causal_model", help="Of figure 6; --model if it is not given.")
  made.add("spectrogram_model", help="Of figures 7 and 8.")
  made.add("figure", default="all", help="Numbers with commas, or all.")
  made.add("output_dir", default="figures", help="Where to.")
  made.add("overwrite", type=bool, help="Replace files that are there.")
  for name, option in OPTIONS.items():
    made.add(
      name,
      type=int if option.default is None else type(option.default),
      **vars(option),
    )
  return made


def run(options: Any) -> None:
  """Computes, draws and writes what the flags say, see `parser`."""
  numbers = read_numbers(options.figure)
  separation.check_set(options)
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
    **{name: getattr(options, name) for name in OPTIONS},
  )
  problems = {number: study.problem(number) for number in numbers}
  for problem in filter(None, problems.values()):
    if options.figure != "all":
      raise ValueError(problem)
    say(f"left out: {problem}")
  numbers = [number for number in numbers if not problems[number]]
  for number in numbers:
    FIGURES[number].check(study)
  folder = pathlib.Path(options.output_dir)
  if folder.exists() and not folder.is_dir():
    raise ValueError(f"{folder} is a file; choose another --output_dir")
  rows.refuse_existing(
    [path for number in numbers for path in _paths(folder, number)],
    overwrite=options.overwrite,
    flag="--output_dir",
  )
  if any(FIGURES[number].of_speech for number in numbers):
    _ = study.mixtures  # So that a mistake shows early.
  for number in numbers:
    started = time.monotonic()
    result = study.figure(number)
    write(folder, number, result)
    print(rows.markdown(result.table))
    print(
      f"figure {number}: {_paths(folder, number)[0]} "
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

  Not every operation is spread over cores: mixtures side by side are faster.
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
