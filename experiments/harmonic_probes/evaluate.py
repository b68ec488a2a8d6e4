r"""Evaluates a trained separator: a table, and a row for every mixture.

On the run's own validation set:

  python -m experiments.harmonic_probes.evaluate --workdir=DIR

On a fixed list of mixtures, whole:

  python -m experiments.harmonic_probes.evaluate --workdir=DIR \
    --mixture_list=experiments/harmonic_probes/lists/libri_test_other_2mix.csv \
    --root=LibriSpeech/test-other --output=rows.csv

On mixtures of another corpus, drawn and simulated as in training but fixed:

  python -m experiments.harmonic_probes.evaluate --workdir=DIR \
    --corpus=librispeech:LibriSpeech/test-other --num_examples=300

With --model alone, mixtures are drawn with the usual options. With --workdir, a
run that was trained on filtered speech has every set filtered alike.

Values are means over the sources of a mixture, in dB, under the permutation
of the training loss; SDR is that of BSS-eval with 512 taps. An improvement is
over the mixture itself. The table goes next to the rows, with the ending .md.
"""

import os
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import Any

import tqdm
from absl import app, flags
from ml_collections import config_dict

import jaxsep
from data_pipelines import batches, mixture_lists
from experiments.command import run_or_exit, say
from experiments.harmonic_probes import job, scoring
from experiments.harmonic_probes.configs import conv_tasnet
from experiments.harmonic_probes.mixture_flags import (
  BATCH_SIZE,
  CORPUS,
  CROP_S,
  MIXTURE_LIST,
  MODEL,
  NUM_EXAMPLES,
  ROOT,
  SPLIT,
)
from experiments.harmonic_probes.opening import check_num_sources, is_premixed
from experiments.harmonic_probes.run_data import open_noise_and_rirs
from experiments.harmonic_probes.separator import find_model
from jaxsep.train.workdir import read_config

#: Mixtures where --num_examples does not say.
_USUAL_NUM_EXAMPLES = 300

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of a run.")
_MODE = flags.DEFINE_enum(
  "mode", None, ["min", "max"], "Of a --corpus of mixtures; min if not given."
)
_MIXTURE = flags.DEFINE_enum(
  "mixture",
  None,
  ["mix_clean", "mix_both", "mix_single"],
  "Of a --corpus of librimix; mix_clean if not given.",
)
_LENGTH_MULTIPLE_S = flags.DEFINE_float(
  "length_multiple_s",
  1.0,
  "Whole mixtures are cut down to a multiple of this; every length is a "
  "compilation.",
)
_OUTPUT = flags.DEFINE_string(
  "output",
  None,
  "Rows as .csv or .jsonl; evaluation_SET.csv in --workdir if that is given.",
)
_CACHE_DIR = flags.DEFINE_string(
  "cache_dir", None, "Where to remember the scan of a corpus."
)


def model_folder() -> pathlib.Path:
  """The model that the flags name."""
  named = MODEL.value or _WORKDIR.value
  if not named:
    raise ValueError("name a model by --workdir or --model")
  return find_model(named)


def output_path() -> pathlib.Path | None:
  """Where the rows go, checked before there are any."""
  if _OUTPUT.value:
    path = pathlib.Path(_OUTPUT.value)
  elif _WORKDIR.value:
    path = pathlib.Path(_WORKDIR.value) / f"evaluation_{set_name()}.csv"
  else:
    return None
  if path.suffix not in (".csv", ".jsonl"):
    raise ValueError(f"--output is {path}; it ends in .csv or .jsonl")
  path.parent.mkdir(parents=True, exist_ok=True)
  if not os.access(path.parent, os.W_OK):
    raise ValueError(f"cannot write to {path.parent}; choose another --output")
  return path


def set_name() -> str:
  """What the flags evaluate on, as a part of a file's name."""
  if MIXTURE_LIST.value:
    return pathlib.Path(MIXTURE_LIST.value).stem
  if CORPUS.value:
    parts = (CORPUS.value, SPLIT.value, _MODE.value, _MIXTURE.value)
    name = " ".join(part for part in parts if part)
    return re.sub(r"[^\w.-]+", "_", name).strip("_")
  return "valid"


def open_batches(config: Any) -> tuple[Any, Any]:
  """The batches that the flags name, and the names of the mixtures."""
  whole = {
    "batch_size": BATCH_SIZE.value,
    "sample_rate_hz": config.sample_rate_hz,
    "length_multiple": round(_LENGTH_MULTIPLE_S.value * config.sample_rate_hz),
  }
  if MIXTURE_LIST.value and CORPUS.value:
    raise ValueError("give --mixture_list or --corpus, not both")
  for flag in (SPLIT, _MODE, _MIXTURE):
    if flag.value and not CORPUS.value:
      raise ValueError(f"--{flag.name} is for a --corpus, and none is given")
  if MIXTURE_LIST.value:
    if not ROOT.value:
      raise ValueError("--mixture_list needs --root, where its files are")
    mixtures = mixture_lists.read_list(MIXTURE_LIST.value)
    check_num_sources(mixtures, config.num_sources)
    return mixture_lists.list_batches(mixtures, ROOT.value, **whole), (
      mixtures.id
    )
  if CORPUS.value:
    corpus = job.open_corpus(
      CORPUS.value,
      sample_rate_hz=config.sample_rate_hz,
      num_sources=config.num_sources,
      split=SPLIT.value or "",
      mode=_MODE.value,
      mixture=_MIXTURE.value,
      cache_dir=_CACHE_DIR.value,
    )
    if is_premixed(corpus):
      check_num_sources(corpus, config.num_sources)
      return batches.premixed_eval_batches(corpus, **whole), corpus.name
    config.data.update(
      num_valid_examples=NUM_EXAMPLES.value or _USUAL_NUM_EXAMPLES,
      valid_crop_s=CROP_S.value,
      batch_size=BATCH_SIZE.value,
      seed=0,
    )
    extra = open_noise_and_rirs(config)
    return job.Data(config, corpus, corpus, **extra).eval_batches(), None
  if not _WORKDIR.value:
    raise ValueError("name what to evaluate on: --mixture_list or --corpus")
  return job.open_data(config, say=say).eval_batches(), None


def run() -> None:
  """Evaluates as the flags say."""
  folder, output = model_folder(), output_path()
  loaded = jaxsep.load(folder)
  config = config_dict.ConfigDict(
    {
      "sample_rate_hz": loaded.sample_rate_hz,
      "num_sources": loaded.model.num_sources,
      "data": conv_tasnet.get_config().data,
      "simulate": {},
    }
  )
  if _WORKDIR.value:
    made = read_config(_WORKDIR.value)
    if made is None or "data" not in made["run"]:
      raise ValueError(
        f"{_WORKDIR.value} is not the folder of a run of "
        "experiments.harmonic_probes.train; give --model and --corpus"
      )
    config.data = made["run"]["data"]
    config.simulate = made["task"]["simulate"]
    config.loss = made["task"]["loss"]
  task = job.make_task(config, loaded.model)
  data, names = open_batches(config)
  rows = []
  progress = tqdm.tqdm(data, unit="batch", disable=not sys.stderr.isatty())
  for row in scoring.evaluate(task, loaded.params, progress):
    row = {"id": str(names[row["index"]]) if names is not None else "", **row}
    row["seconds"] = round(row.pop("samples") / loaded.sample_rate_hz, 4)
    rows.append(row)
  rows.sort(key=lambda row: row["index"])
  text = scoring.table(rows)
  print(f"{folder}\n{text}")
  if output is not None:
    scoring.write_rows(output, rows)
    output.with_suffix(".md").write_text(f"{text}\n")
    print(f"rows: {output}")


def main(argv: Sequence[str]) -> None:
  """Runs; an error is one line."""
  run_or_exit(run, argv)


if __name__ == "__main__":
  app.run(main)
