r"""Puts a trained model among those that ship in the wheel.

  python -m experiments.pretrained.ship --model=runs/best \
    --name=two_speakers_8k --card=card.md --scores=scores.json

Weights are stored as bfloat16. The card, in Markdown, becomes the model's
README.md: a title, a line that sums the model up, then the data with licences
and attribution, the recipe, the scores, and what the model is bad at. The
scores are JSON: what was measured, with the data, the rate and the unit, and
the value. `jaxsep models` prints the summary, the scores and the licence.
"""

import functools
import json
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

import jaxsep
from experiments.command import Parser

#: What a model in the wheel may take, in MiB.
MOST_MIB = 5.0
_PRETRAINED = pathlib.Path(jaxsep.__file__).parent / "pretrained"


def ship(flags: Any) -> pathlib.Path:
  """Writes the model's folder and returns it."""
  loaded = jaxsep.load(flags.model)
  card = {
    "summary": _summary(flags.card),
    "num_sources": loaded.model.num_sources,
    "causal": bool(getattr(loaded.model, "is_causal", False)),
    "license": flags.license,
    "scores": _scores(flags.scores),
  }
  save = functools.partial(
    jaxsep.save,
    model=loaded.model,
    variables=loaded.variables,
    sample_rate_hz=loaded.sample_rate_hz,
    metadata={"card": card},
    parts=loaded.parts,
    files={"README.md": flags.card},
    dtype="bfloat16",
  )
  with tempfile.TemporaryDirectory() as temporary:
    tried = pathlib.Path(temporary, flags.name)
    save(tried)
    size = sum(path.stat().st_size for path in tried.rglob("*"))
  if size > MOST_MIB * 2**20:
    raise ValueError(
      f"{flags.model}: takes {size / 2**20:.2f} MiB as bfloat16; a model that"
      f" ships may take {MOST_MIB:g} MiB"
    )
  folder = pathlib.Path(flags.output_dir) / flags.name
  save(folder, overwrite=flags.overwrite)
  return folder


def _summary(path):
  """The line after the title of a card."""
  lines = [line for line in pathlib.Path(path).read_text().splitlines() if line]
  if len(lines) < 2 or not lines[0].startswith("# ") or lines[1][0] == "#":
    raise ValueError(f"{path}: needs a title, '# ...', and a line of summary")
  return lines[1]


def _scores(path):
  """Values by what was measured."""
  try:
    scores = json.loads(pathlib.Path(path).read_text())
  except ValueError as error:
    raise ValueError(f"{path}: is not JSON: {error}") from error
  if not isinstance(scores, dict) or not scores:
    raise ValueError(f'{path}: must be like {{"what, in dB": 5.1}}')
  return scores


def main(argv: Sequence[str] | None = None) -> None:
  """Reads the flags and runs; an error is one line."""
  parser = Parser(__doc__)
  add = parser.add
  add("model", required=True, help="Run or model folder.")
  add("name", required=True, help="What users call it.")
  add("card", required=True, help="Markdown file.")
  add("scores", required=True, help="JSON file.")
  add("license", default="Apache-2.0", help="Licence of the weights.")
  add(
    "output_dir", default=str(_PRETRAINED), help="Where models that ship lie."
  )
  add("overwrite", type=bool, help="Replace the model of that name.")
  print(parser.run(ship, argv))


if __name__ == "__main__":
  main()
