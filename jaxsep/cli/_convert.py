"""`jaxsep convert`."""

import argparse
import json
import pathlib

from jaxsep import model_io
from jaxsep.cli._console import UsageError, complain
from jaxsep.conversion import ConversionError, convert


def run(options: argparse.Namespace) -> int:
  """Writes a model folder from a checkpoint of another toolkit."""
  folder = pathlib.Path(options.output_dir)
  try:
    found = convert(
      options.checkpoint,
      peer=options.peer,
      sample_rate_hz=options.sample_rate_hz,
      arguments=_parse(options.set or ()),
    )
  except ConversionError as error:
    for line in error.lines:
      complain(line)
    return 2
  metadata = {
    "converted_from": found.peer,
    "checkpoint": pathlib.Path(options.checkpoint).name,
  }
  model_io.save(
    folder,
    found.model,
    found.variables,
    sample_rate_hz=found.sample_rate_hz,
    task=found.task,
    metadata=metadata,
    parts={
      name: model_io.LoadedModel(
        part.model,
        part.variables,
        part.sample_rate_hz,
        part.task,
        metadata,
        files=dict(found.files),
      )
      for name, part in found.parts.items()
    },
    files=found.files,
  )
  print(f"model           {type(found.model).__name__}, from {found.peer}")
  print(f"parameters      {found.num_params:,}")
  print(f"sample rate     {found.sample_rate_hz} Hz")
  for name, part in found.parts.items():
    print(f"{name:15} {part.num_params:,} parameters, in {folder / name}")
  print(f"folder          {folder}")
  return 0


def _parse(settings):
  """Arguments of the peer's model by name."""
  arguments = {}
  for setting in settings:
    name, equals, text = setting.partition("=")
    if not (name and equals):
      raise UsageError(f"--set takes NAME=VALUE, got {setting!r}")
    try:
      value = json.loads(text)
    except ValueError:
      value = {"True": True, "False": False, "None": None}.get(text, text)
    arguments[name] = value
  return arguments
