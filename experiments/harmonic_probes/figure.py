r"""Computes and draws figures 2 to 9 of the paper for a trained model.

  python -m experiments.harmonic_probes.figure --figure=3 --model=DIR \
    --corpus=voices --output_dir=figures

  python -m experiments.harmonic_probes.figure --figure=all --model=DIR \
    --causal_model=DIR --spectrogram_model=DIR \
    --mixture_list=experiments/harmonic_probes/lists/libri_test_other_2mix.csv \
    --root=LibriSpeech/test-other --output_dir=figures

A model is a model folder, or the folder of a run, whose best model is taken.
Every figure N leaves figure_N.png, the numbers in it as figure_N.csv and .md,
and what they are means of as figure_N_rows.csv.

  2  fricatives in the wrong channel       6  gaps in tones (--causal_model)
  3  low-pass and high-pass filtered       7  4 for --spectrogram_model
  4  tones that lack harmonics             8  6 for --spectrogram_model
  5  band-stop filtered speech             9  order of the channels by pitch
"""

import contextlib
import math
import os
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import jax
from absl import app, flags

from experiments import output_flags
from experiments.command import run_or_exit, say
from experiments.cores import allowed_cores
from experiments.harmonic_probes import (
  filter_sets,
  mixture_flags,
  output,
  pitch,
  probe_set,
  suite,
  tones,
)
from experiments.harmonic_probes.mixture_flags import (
  BATCH_SIZE,
  CORPUS,
  CROP_S,
  MIXTURE_LIST,
  MODEL,
  NUM_EXAMPLES,
  OVERWRITE,
  ROOT,
  SPLIT,
  USUAL_CROP_S,
)
from experiments.harmonic_probes.opening import check_set
from experiments.harmonic_probes.separator import Separator, load_separator
from experiments.output_flags import OUTPUT_DIR

#: Mixtures where --num_examples does not say.
_USUAL_NUM_EXAMPLES = 100

_FIGURE = flags.DEFINE_list(
  "figure", ["all"], "Numbers of figures, 2 to 9, or all."
)
_CAUSAL_MODEL = flags.DEFINE_string(
  "causal_model", None, "Of figure 6, if not --model; the paper's is causal."
)
_SPECTROGRAM_MODEL = flags.DEFINE_string(
  "spectrogram_model", None, "Of figures 7 and 8."
)
_FILTERED_MODELS = flags.DEFINE_list(
  "filtered_models",
  [],
  "Models trained on filtered speech, as lp300=DIR,hp180=DIR,bs350-400=DIR.",
)
_FILTER_METHOD = flags.DEFINE_enum(
  "filter_method", "butterworth", ["butterworth", "fir"], "Kind of filters."
)
_NUM_SEEDS = flags.DEFINE_integer(
  "num_seeds", tones.NUM_SEEDS, "Stimuli of every kind of tones.", lower_bound=1
)
_AMPLITUDE = flags.DEFINE_enum(
  "amplitude",
  "inverse",
  tones.AMPLITUDES,
  "Of the partials, in pictures of tones and in figures 6 and 8: all equal, "
  "or falling as 1/k. The numbers of figures 4 and 7 are of both.",
)
_F0_TRACKER = flags.DEFINE_enum(
  "f0_tracker", "pyin", pitch.TRACKERS, "pyin of librosa, or WORLD's harvest."
)
_NUM_PROCESSES = flags.DEFINE_integer(
  "num_processes", None, "That track pitch; as many as cores if not given."
)
# So that --help shows them.
for module in (mixture_flags, output_flags):
  flags.adopt_module_key_flags(module)


def run() -> None:
  """Computes, draws and writes what the flags say."""
  if not MODEL.value:
    raise ValueError("name a model by --model")
  numbers = wanted_figures(_FIGURE.value, spectrogram=_SPECTROGRAM_MODEL.value)
  check_set(CORPUS.value, MIXTURE_LIST.value, ROOT.value, SPLIT.value)
  folder = pathlib.Path(OUTPUT_DIR.value or "figures")
  output.claim(folder, numbers, overwrite=OVERWRITE.value)
  if 9 in numbers:
    pitch.check_tracker(_F0_TRACKER.value)
  model = load(MODEL.value)
  probes = suite.Probes(
    model,
    lambda: probe_set.open_probe_set(
      sample_rate_hz=model.sample_rate_hz,
      num_examples=NUM_EXAMPLES.value or _USUAL_NUM_EXAMPLES,
      crop_s=USUAL_CROP_S if CROP_S.value is None else CROP_S.value,
      corpus=CORPUS.value,
      mixture_list=MIXTURE_LIST.value,
      root=ROOT.value,
      split=SPLIT.value,
      num_sources=model.num_sources,
    ),
    causal_model=load(_CAUSAL_MODEL.value),
    spectrogram_model=load(_SPECTROGRAM_MODEL.value),
    filtered_models=load_filtered(_FILTERED_MODELS.value),
    filter_method=_FILTER_METHOD.value,
    amplitude=_AMPLITUDE.value,
    num_seeds=_NUM_SEEDS.value,
    f0_tracker=_F0_TRACKER.value,
    num_processes=_NUM_PROCESSES.value,
    say=say,
  )
  if numbers & suite.OF_SPEECH:
    probes.open()
  for number in sorted(numbers):
    started = time.monotonic()
    result = probes.figure(number)
    output.write(folder, number, result)
    print(output.markdown(result.table))
    print(
      f"figure {number}: {folder / f'figure_{number}.png'} "
      f"({time.monotonic() - started:.1f} s)\n",
      flush=True,
    )


def wanted_figures(names: Sequence[str], *, spectrogram: Any) -> set[int]:
  """The numbers that `--figure` means.

  Args:
    names: Numbers as words, or "all".
    spectrogram: Whether there is a model for figures 7 and 8.

  Returns:
    Numbers.

  Raises:
    ValueError: If there is no such figure, or a model is missing for it.
  """
  needing = suite.OF_SPECTROGRAM_MODEL
  if "all" in names:
    if not spectrogram:
      say("figures 7 and 8 are left out: they need --spectrogram_model")
    return set(suite.FIGURES) - (set() if spectrogram else needing)
  if not names:
    raise ValueError("--figure is empty; it is a number from 2 to 9, or all")
  numbers = set()
  for name in names:
    if not name.isdigit() or int(name) not in suite.FIGURES:
      raise ValueError(
        f"--figure is {name!r}; it is a number from 2 to 9, several with "
        "commas, or all"
      )
    numbers.add(int(name))
  if numbers & needing and not spectrogram:
    raise ValueError(
      f"figure {min(numbers & needing)} is of a SpectrogramTasNet: name one "
      "by --spectrogram_model"
    )
  return numbers


def load(folder: str | None) -> Any:
  """The separator in a folder, or None for none."""
  if not folder:
    return None
  return load_separator(folder, batch_size=BATCH_SIZE.value)


def load_filtered(options: Sequence[str]) -> dict[str, Separator]:
  """The models trained on filtered speech, by the short name of the filter."""
  found = {}
  for option in options:
    name, equals, folder = option.partition("=")
    if not equals or not name or not folder:
      known = suite.short_names(filter_sets.ALL)
      raise ValueError(
        f"--filtered_models has {option!r}; it takes NAME=DIR, where NAME is "
        f"one of {', '.join(known)}"
      )
    found[name] = load(folder)
  return found


def use_cores() -> None:
  """Makes a CPU device of every core that takes a mixture of a batch.

  Mixtures side by side on a core each take less time than one after the other
  on all: not every operation is spread over cores.
  """
  # XLA takes one of the two, the option or a flag that the caller has set.
  if "host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
    return
  cores = len(allowed_cores())
  with contextlib.suppress(RuntimeError):  # JAX is in use already.
    jax.config.update("jax_num_cpu_devices", math.gcd(cores, BATCH_SIZE.value))


def main(argv: Sequence[str]) -> None:
  """Runs; an error is one line."""
  use_cores()
  run_or_exit(run, argv)


if __name__ == "__main__":
  app.run(main)
