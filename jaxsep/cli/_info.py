"""`jaxsep info`."""

import argparse

from jaxsep.cli._console import UsageError, user_mistakes


def load(folder: str):
  """The model in a folder, or one line about what is wrong with it."""
  from jaxsep import model_io

  with user_mistakes():
    try:
      return model_io.load(folder)
    except model_io.ModelFolderError as error:
      raise UsageError(str(error)) from error


def run(options: argparse.Namespace) -> int:
  """Prints what a model folder holds."""
  import dataclasses

  import jax
  import numpy as np

  loaded = load(options.model)
  model = loaded.model
  count = sum(leaf.size for leaf in jax.tree.leaves(loaded.params))
  print(f"model           {type(model).__name__}")
  print(f"task            {loaded.task}")
  print(f"sample rate     {loaded.sample_rate_hz} Hz")
  print(f"parameters      {count:,}")
  for field in dataclasses.fields(model):
    if field.name not in ("parent", "name"):
      value = getattr(model, field.name)
      if field.name == "dtype":
        value = np.dtype(value).name
      print(f"  {field.name:<20}{value}")
  for name, value in (loaded.metadata or {}).items():
    print(f"{name:<16}{value}")
  return 0
