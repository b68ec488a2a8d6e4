r"""Evaluates a trained separator: a table, and a row for every mixture.

On the run's own validation set:

  python -m experiments.harmonic_probes.evaluate --workdir=DIR

On a fixed list of mixtures:

  python -m experiments.harmonic_probes.evaluate --workdir=DIR \
    --mixture_list=experiments/harmonic_probes/lists/libri_test_other_2mix.csv \
    --root=LibriSpeech/test-other --output=rows.csv

On mixtures of another corpus, drawn and simulated as in training but fixed:

  python -m experiments.harmonic_probes.evaluate --workdir=DIR \
    --corpus=librispeech:LibriSpeech/test-other --num_examples=300

With --model alone, mixtures are drawn with the usual options. With --workdir, a
run that was trained on filtered speech has every set filtered alike; with
both, the model is tried on the sets of the run.

Mixtures of a list, and of a corpus of mixtures, are taken whole where they have
a hundred lengths at most: a model is compiled for each. Where they have more,
they are cut down to multiples of a hundredth of a second or of the next step
that leaves so few; the table says what share of the audio that cost.

Values are means over the sources of a mixture, in dB, under the permutation
of the training loss; SDR is that of BSS-eval with 512 taps. An improvement is
over the mixture itself. The table goes next to the rows, with the ending .md.
Both are replaced where they are in the folder of the run.
"""

import os
import pathlib
import sys
from collections.abc import Sequence

import tqdm
from absl import app, flags
from ml_collections import config_dict

import jaxsep
from data_pipelines.mixture_lists import OpenedList
from experiments.command import run_or_exit
from experiments.harmonic_probes import (
  evaluation_set,
  job,
  mixture_flags,
  scoring,
)
from experiments.harmonic_probes.configs import conv_tasnet
from experiments.harmonic_probes.evaluation_set import WORKDIR
from experiments.harmonic_probes.mixture_flags import MODEL, OVERWRITE
from experiments.harmonic_probes.separator import find_model
from jaxsep.train.workdir import read_config

_OUTPUT = flags.DEFINE_string(
  "output",
  None,
  "Rows as .csv or .jsonl; evaluation_SET.csv in --workdir if that is given.",
)
# So that --help shows them.
for module in (evaluation_set, mixture_flags):
  flags.adopt_module_key_flags(module)


def model_folder() -> pathlib.Path:
  """The model that the flags name."""
  named = MODEL.value or WORKDIR.value
  if not named:
    raise ValueError("name a model by --workdir or --model")
  return find_model(named)


def output_path() -> pathlib.Path | None:
  """Where the rows go, checked before there are any."""
  if _OUTPUT.value:
    path = pathlib.Path(_OUTPUT.value)
    if path.suffix not in (".csv", ".jsonl"):
      raise ValueError(f"--output is {path}; it ends in .csv or .jsonl")
    for there in (path, path.with_suffix(".md")):
      if there.exists() and not OVERWRITE.value:
        raise ValueError(
          f"{there} is there already; choose another --output, or pass "
          "--overwrite"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
  elif WORKDIR.value and MODEL.value:
    raise ValueError(
      "the rows are of --model, not of the run in --workdir: name a file for "
      "them by --output"
    )
  elif WORKDIR.value:
    path = (
      pathlib.Path(WORKDIR.value)
      / f"evaluation_{evaluation_set.set_name()}.csv"
    )
  else:
    return None
  if path.parent.exists() and not os.access(path.parent, os.W_OK):
    raise ValueError(f"cannot write to {path.parent}; choose another --output")
  return path


def run() -> None:
  """Evaluates as the flags say."""
  evaluation_set.check_flags()
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
  if WORKDIR.value:
    made = read_config(WORKDIR.value)
    if made is None or "data" not in made["run"]:
      raise ValueError(
        f"{WORKDIR.value} is not the folder of a run of "
        "experiments.harmonic_probes.train; give --model and --corpus"
      )
    config.data = made["run"]["data"]
    config.simulate = made["task"]["simulate"]
    config.loss = made["task"]["loss"]
  task = job.make_task(config, loaded.model)
  data, chosen = evaluation_set.open_batches(config)
  rows = []
  kept = 0
  progress = tqdm.tqdm(data, unit="batch", disable=not sys.stderr.isatty())
  for row in scoring.evaluate(task, loaded.params, progress):
    kept += row["samples"]
    row = {"id": "", **row}
    if chosen is not None:
      row["index"] = int(chosen.rows[row["index"]])
      row["id"] = str(chosen.mixtures.name[row["index"]])
      if isinstance(chosen.mixtures, OpenedList):
        row["folders"] = " ".join(chosen.mixtures.top_folders(row["index"]))
    row["seconds"] = round(row.pop("samples") / loaded.sample_rate_hz, 4)
    rows.append(row)
  rows.sort(key=lambda row: row["index"])
  captions = [scoring.spread_over_folders(rows)]
  captions += [] if chosen is None else [chosen.caption(kept)]
  text = scoring.table(rows, " ".join(filter(None, captions)))
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
