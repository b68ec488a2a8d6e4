"""`jaxsep info`."""

import argparse
import dataclasses

import jax
from etils import epath

from jaxsep import model_io


def run(options: argparse.Namespace) -> int:
  """Prints what a model folder holds, and what its card says to people."""
  loaded = model_io.load(options.model)
  _show(loaded, "")
  if card := loaded.files.get("README.md"):
    print(f"\n{epath.Path(card).read_text().strip()}")
  return 0


def _show(loaded, indent):
  sizes = {
    name: sum(leaf.size for leaf in jax.tree.leaves(collection))
    for name, collection in loaded.variables.items()
  }
  rows = {
    "model": type(loaded.model).__name__,
    "task": loaded.task,
    "sample rate": f"{loaded.sample_rate_hz} Hz",
    "parameters": f"{sizes.pop('params', 0):,}",
    **{name: f"{size:,} values" for name, size in sizes.items()},
  }
  _print(rows, indent)
  _show_options(loaded.model, indent + "  ")
  _print(loaded.metadata, indent)
  for name in loaded.files:
    _print({"file": name}, indent)
  for name, part in loaded.parts.items():
    _print({"part": name}, indent)
    _show(part, indent + "  ")


def _show_options(model, indent):
  """Prints the options of a model, and those of what is nested in it."""
  for field in dataclasses.fields(model):
    value = getattr(model, field.name)
    if field.name in ("parent", "name"):
      continue
    if dataclasses.is_dataclass(value):
      _print({field.name: type(value).__name__}, indent, 20)
      _show_options(value, indent + "  ")
    else:
      _print({field.name: getattr(value, "__name__", value)}, indent, 20)


def _print(rows, indent, width=16):
  for name, value in rows.items():
    if isinstance(value, dict):
      print(f"{indent}{name}")
      _print(value, indent + "  ", max([width, *(len(n) + 1 for n in value)]))
    else:
      print(f"{indent}{name:<{width}}{value}")
