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

Mixtures of a list, and of a corpus of mixtures, are taken whole if they have at
most a hundred different lengths: a model is compiled for each. If they have
more, they are cut down to multiples of a hundredth of a second or more, until
so few lengths are left; the table says what share of the audio that cost.

Values are means over the sources of a mixture, in dB, under the permutation
of the training loss; SDR is that of BSS-eval with 512 taps. An improvement is
over the mixture itself. The table is written next to the rows, as .md. In the
folder of the run both replace those of an earlier evaluation.
"""

import importlib.util
import os
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import Any

import tqdm

from experiments import data as data_lib
from experiments import evaluation, job, options, rows
from experiments.command import Parser, say
from experiments.harmonic_probes.configs import conv_tasnet
from experiments.harmonic_probes.train import make_task
from jaxsep import losses

#: Of mixtures that are drawn, where flags do not say.
_NUM_EXAMPLES, _CROP_S = 300, 4.0

#: Columns of the table, and what they are called there.
TABLE = {
  "si_sdr": "SI-SDR (dB)",
  "si_sdr_improvement": "SI-SDRi (dB)",
  "si_snr_improvement": "SI-SNRi (dB)",
  "sdr": "SDR (dB)",
  "sdr_improvement": "SDRi (dB)",
  "mixture_si_sdr": "mixture SI-SDR (dB)",
  "mixture_sdr": "mixture SDR (dB)",
  "stoi": "STOI",
  "mixture_stoi": "mixture STOI",
  "pesq": "PESQ",
  "mixture_pesq": "mixture PESQ",
}


def make_parser() -> Parser:
  """The flags."""
  parser = Parser(__doc__)
  add = parser.add
  add("workdir", help="Folder of a run.")
  add("model", help="Model folder, or the folder of another run.")
  evaluation.add_set_flags(parser)
  kinds = ["mix_clean", "mix_both", "mix_single"]
  add("mode", choices=["min", "max"], help="Of a --corpus of mixtures; min.")
  add("mixture", choices=kinds, help="Of a --corpus of librimix; mix_clean.")
  add(
    "length_multiple_s",
    type=float,
    least=0,
    help="Cut mixtures that exist to a multiple of this; 0 leaves all whole.",
  )
  add("perceptual", type=bool, help="STOI and PESQ too.")
  add("num_saved", type=int, least=1, help="Mixtures to write as audio.")
  add("output", help="Rows as .csv or .jsonl; by default in --workdir.")
  return parser


def check_flags(flags: Any) -> None:
  """Raises ValueError if flags contradict each other or would be ignored."""
  evaluation.check_set(flags)
  named = flags.mixture_list or flags.corpus
  if not (flags.model or flags.workdir):
    raise ValueError("name a model by --workdir or --model")
  if not named and not flags.workdir:
    raise ValueError("name what to evaluate on: --mixture_list or --corpus")
  for name in ("num_examples", "crop_s", "length_multiple_s"):
    if getattr(flags, name) is not None and not named:
      raise ValueError(
        f"--{name} is for a --corpus or a --mixture_list; the validation set "
        "of a run is evaluated as it is"
      )
  if flags.length_multiple_s is not None and flags.crop_s is not None:
    raise ValueError("give --length_multiple_s or --crop_s, not both")
  for package in ("pystoi", "pesq") if flags.perceptual else ():
    if importlib.util.find_spec(package) is None:
      raise ValueError(
        f"--perceptual needs {package}: pip install jaxsep[eval]"
      )


def set_name(flags: Any) -> str:
  """What the flags evaluate on, as a part of a file's name."""
  if not (flags.mixture_list or flags.corpus):
    return "valid"
  parts = [flags.corpus, flags.split, flags.mode, flags.mixture]
  if flags.mixture_list:
    parts = [pathlib.Path(flags.mixture_list).stem]
  for word, value in (
    ("num", flags.num_examples),
    ("crop", flags.crop_s),
    ("multiple", flags.length_multiple_s),
  ):
    if value is not None:
      parts.append(f"{word}_{value}")
  return re.sub(r"[^\w.-]+", "_", " ".join(filter(None, parts))).strip("_")


def output_path(flags: Any) -> pathlib.Path | None:
  """Where the rows go, checked before there are any."""
  if flags.output:
    path = pathlib.Path(flags.output)
    if path.suffix not in (".csv", ".jsonl"):
      raise ValueError(f"--output is {path}; it ends in .csv or .jsonl")
    rows.refuse_existing(
      [path, path.with_suffix(".md")], overwrite=flags.overwrite
    )
    path.parent.mkdir(parents=True, exist_ok=True)
  elif flags.workdir and flags.model:
    raise ValueError(
      "the rows are of --model, not of the run in --workdir: name a file for "
      "them by --output"
    )
  elif flags.workdir:
    path = pathlib.Path(flags.workdir) / f"evaluation_{set_name(flags)}.csv"
  elif flags.num_saved:
    raise ValueError("--num_saved needs --output: examples are put next to it")
  else:
    return None
  if path.parent.exists() and not os.access(path.parent, os.W_OK):
    raise ValueError(f"cannot write to {path.parent}; choose another --output")
  return path


def make_config(flags: Any, loaded: Any) -> Any:
  """The config of the run, or the usual one, for the loaded model."""
  if flags.workdir:
    return options.load(os.path.join(flags.workdir, "config.json"))
  config = conv_tasnet.get_config()
  config.sample_rate_hz = loaded.sample_rate_hz
  config.model = options.options(loaded.model)
  if hasattr(loaded.model, "estimate_spectra"):
    config.loss = options.options(losses.magnitude_l2)
  return config


def open_batches(
  flags: Any, config: Any
) -> tuple[Any, evaluation.Chosen | None]:
  """The batches that the flags name, and of mixtures that exist, which."""
  rate, num_sources = config.sample_rate_hz, config.model.num_sources
  if not (flags.corpus or flags.mixture_list):
    return data_lib.open_data(config, say=say).eval_batches(), None
  if flags.mixture_list:
    corpus = evaluation.open_mixture_list(
      flags.mixture_list, flags.root, num_sources
    )
  else:
    config.data.update(
      mode=flags.mode,
      mixture=flags.mixture,
      cache_dir=flags.cache_dir,
      num_voices=40,
      num_utterances=10,
      num_valid_examples=flags.num_examples or _NUM_EXAMPLES,
      valid_crop_s=flags.crop_s or _CROP_S,
      batch_size=flags.batch_size,
      seed=0,
    )
    corpus = data_lib.open_corpus(
      flags.corpus,
      sample_rate_hz=rate,
      num_sources=num_sources,
      split=flags.split,
      data=options.build(config.data),
    )
  if not corpus.is_premixed:
    if flags.length_multiple_s is not None:
      raise ValueError(
        "--length_multiple_s is for a --mixture_list or a --corpus of mixtures"
      )
    return data_lib.open_drawn(config, corpus).eval_batches(), None
  data_lib.check_num_sources(corpus, num_sources)
  chosen = evaluation.choose(
    corpus,
    rate,
    num_examples=flags.num_examples,
    crop_s=flags.crop_s,
    length_multiple_s=flags.length_multiple_s,
  )
  return chosen.batches(flags.batch_size), chosen


def run(flags: Any) -> None:
  """Evaluates as the flags say."""
  check_flags(flags)
  output = output_path(flags)
  loaded = job.load_model(flags.model or flags.workdir)
  config = make_config(flags, loaded)
  if flags.model:
    config.model = options.options(loaded.model)
  task = make_task(config)
  batches, chosen = open_batches(flags, config)
  progress = tqdm.tqdm(batches, unit="batch", disable=not sys.stderr.isatty())
  table, saved, kept = [], [], 0
  for row, signals in evaluation.evaluate(
    task, loaded.variables, progress, perceptual=flags.perceptual
  ):
    samples, named = row.pop("samples"), {"index": row.pop("index")}
    if chosen is not None:
      named = chosen.fields(named["index"])
    kept += samples
    row = named | {"seconds": round(samples / loaded.sample_rate_hz, 4)} | row
    table.append(row)
    if len(saved) < (flags.num_saved or 0):
      saved.append((row, signals))
  table.sort(key=lambda row: row["index"])
  captions = [rows.spread(table), chosen.caption(kept) if chosen else ""]
  text = rows.summary(table, TABLE)
  text += "\n\n" * any(captions) + " ".join(filter(None, captions))
  print(f"{loaded.folder}\n{text}")
  if output is not None:
    rows.write(output, table)
    output.with_suffix(".md").write_text(f"{text}\n")
    print(f"rows: {output}")
    if saved:
      folder = output.with_name(f"{output.stem}_examples")
      evaluation.write_examples(
        folder, saved, sample_rate_hz=loaded.sample_rate_hz
      )
      print(f"examples: {folder}")


def main(argv: Sequence[str] | None = None) -> None:
  """Reads the flags and runs; an error is one line."""
  make_parser().run(run, argv)


if __name__ == "__main__":
  main()
