"""What every evaluation command shares: a table, and a row for every example.

A paper's `evaluate.py` has its documentation and

  if __name__ == "__main__":
    Evaluation(make_task, __doc__, open_data=open_data).main()

with the functions that `job.main` takes. It evaluates the best model of a run
on its validation set; `--config.data.NAME=VALUE` chooses another. What a paper
does otherwise, a subclass overrides: `separation.SeparationEvaluation` for
models that separate.
"""

import os
import pathlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tqdm

from experiments import data as data_lib
from experiments import job, options, rows
from experiments.command import Parser, run_or_exit, say
from jaxsep import train
from jaxsep.tasks import Mean


class Evaluation:
  """An evaluation command."""

  #: Columns of the table, and what they are called there; empty takes all.
  titles: Mapping[str, str] = {}

  def __init__(
    self,
    make_task: Callable[..., Any],
    doc: str | None = None,
    *,
    open_data: Callable[..., Any] = data_lib.open_data,
  ):
    """Takes what the training job takes, and the documentation."""
    self.make_task, self.open_data = make_task, open_data
    self.doc = doc

  def add_flags(self, add: Callable[..., None]) -> None:
    """Adds the flags that only this evaluation has."""

  def check(self, flags: Any) -> None:
    """Raises ValueError if flags contradict each other or would be ignored."""
    if not flags.workdir:
      raise ValueError("--workdir is missing: the folder of the run")

  def set_name(self, flags: Any) -> str:
    """What the flags evaluate on, as a part of a file's name."""
    del flags
    return "valid"

  def make_config(self, flags: Any, loaded: Any) -> Any:
    """The config of the run, for the model that is evaluated."""
    config = options.load(os.path.join(flags.workdir, "config.json"))
    if flags.model:
      config.model = options.options(loaded.model)
    return config

  def open_set(self, flags: Any, config: Any) -> Any:
    """What has the `eval_batches()`; the task is made with it as `data`."""
    del flags
    return self.open_data(config, say=say)

  def score(
    self, task: Any, variables: Any, batches: Iterable[dict], **given: Any
  ) -> tuple[list[rows.Row], str]:
    """The rows, and a text with their means.

    `given` are `frozen`, the variables of the frozen models, the `data`, the
    `flags`, and the `output` file, or None.
    """
    evaluator = train.Evaluator(task, frozen=given["frozen"])
    found = evaluator.rows(variables, batches)
    has_summary = hasattr(task, "summarize")
    table = [_row(values, has_summary) for values in found]
    pooled = {
      name: _ratio(
        sum(row[name].total for row in found),
        sum(row[name].weight for row in found),
      )
      for name, value in found[0].items()
      if isinstance(value, Mean)
    }
    if has_summary:
      pooled |= {n: float(x) for n, x in task.summarize(found).items()}
    named = {n: n for n, x in table[0].items() if isinstance(x, float)}
    titles = self.titles or named | dict.fromkeys(pooled)
    titles = {name: title or name for name, title in titles.items()}
    return table, rows.summary(table, titles, pooled)

  def run(self, flags: Any) -> None:
    """Evaluates as the flags say."""
    self.check(flags)
    output = self.output_path(flags)
    loaded = job.load_model(flags.model or flags.workdir)
    config = self.make_config(flags, loaded)
    options.override(config, flags.words)
    frozen = job.load_frozen(config)
    data = self.open_set(flags, config)
    task = self.make_task(config, data=data, frozen=frozen)
    batches = data.eval_batches()
    table, text = self.score(
      task,
      loaded.variables,
      tqdm.tqdm(batches, unit="batch", disable=not sys.stderr.isatty()),
      frozen={name: x.variables for name, x in frozen.items()} or None,
      data=data,
      flags=flags,
      output=output,
    )
    print(f"{loaded.folder}\n{text}")
    if output is not None:
      rows.write(output, table)
      output.with_suffix(".md").write_text(f"{text}\n")
      print(f"rows: {output}")

  def make_parser(self) -> Parser:
    """The flags."""
    parser = Parser(self.doc)
    add = parser.add
    add("workdir", help="Folder of a run.")
    add("model", help="Model folder, or the folder of another run.")
    add("output", help="Rows as .csv or .jsonl; by default in --workdir.")
    add("overwrite", type=bool, help="Replace files that are there.")
    self.add_flags(add)
    return parser

  def main(self, argv: Sequence[str] | None = None) -> None:
    """Reads the flags and runs; an error is one line."""
    flags = self.make_parser().parse(argv, unknown="--config.")
    run_or_exit(lambda: self.run(flags), debug=flags.debug)

  def output_path(self, flags: Any) -> pathlib.Path | None:
    """Where the rows go, checked before there are any."""
    if flags.output:
      path = pathlib.Path(flags.output)
      if path.suffix not in (".csv", ".jsonl"):
        raise ValueError(f"--output is {path}; it ends in .csv or .jsonl")
      rows.refuse_existing(
        [path, path.with_suffix(".md"), examples_of(path)],
        overwrite=flags.overwrite,
      )
      path.parent.mkdir(parents=True, exist_ok=True)
    elif flags.workdir and flags.model:
      raise ValueError(
        "the rows are of --model, not of the run in --workdir: name a file for "
        "them by --output"
      )
    elif flags.workdir:
      changes = [word.removeprefix("--config.") for word in flags.words]
      name = " ".join([self.set_name(flags), *changes])
      name = re.sub(r"[^\w.-]+", "_", name).strip("_")
      path = pathlib.Path(flags.workdir) / f"evaluation_{name}.csv"
    else:
      return None
    if path.parent.exists() and not os.access(path.parent, os.W_OK):
      raise ValueError(
        f"cannot write to {path.parent}; choose another --output"
      )
    return path


def examples_of(output: pathlib.Path) -> pathlib.Path:
  """The folder of the audio beside some rows."""
  return output.with_name(f"{output.stem}_examples")


def _row(values, has_summary):
  """What the task says of an example, as numbers."""
  row: rows.Row = {"index": int(values["index"])}
  for name, value in values.items():
    if isinstance(value, Mean):
      row[name] = _ratio(value.total, value.weight)
    elif value.ndim == 0:
      row[name] = value.item()
    elif not has_summary and np.issubdtype(value.dtype, np.floating):
      row[name] = float(value.mean())
  return row


def _ratio(total, weight):
  return float(total) / float(weight) if weight else float("nan")
