"""From nothing to separated voices, in minutes on two cores.

Trains a small ConvTasNet on the built-in voices, separates mixtures of talkers
that it never heard, and leaves a folder to listen to and look at:

  python -m experiments.quickstart --output_dir=quickstart

Started again with the same folder, it goes on where it was stopped, or makes
the results anew if the training had ended.
"""

import dataclasses
import json
import os
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from absl import app, flags, logging

import jaxsep
from data_pipelines.batches import eval_batches, train_batches
from data_pipelines.voices import make_voices
from experiments._quickstart_results import (
  print_table,
  score,
  write_results,
)
from experiments.output_flags import OUTPUT_DIR
from jaxsep import inference, models, simulate
from jaxsep.model_io import ModelFolderError
from jaxsep.tasks import SeparationTask
from jaxsep.train import (
  OptimizerConfig,
  TrainConfig,
  TrainingError,
  fit,
  keep_freed_memory,
)
from jaxsep.train.mesh import make_mesh

_NUM_STEPS = flags.DEFINE_integer(
  "num_steps", None, "Training steps, if not the usual number.", lower_bound=1
)
_SEED = flags.DEFINE_integer(
  "seed",
  0,
  "Seed of voices, parameters and mixtures.",
  lower_bound=0,
  upper_bound=2**32 - 1,
)

SAMPLE_RATE_HZ = 8000
#: Longest duration of a mixture to separate.
MIXTURE_S = 4
#: Tells that a folder is ours; holds the recipe.
MARKER = "quickstart.json"
#: Mean SI-SDR improvement below which the usual recipe counts as failed.
LEAST_IMPROVEMENT_DB = 6.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
  """What is trained, on what, for how long.

  Attributes:
    model: Sizes of the ConvTasNet.
    num_steps: Training steps.
    batch_size: Mixtures in a step.
    crop_s: Duration of a mixture in training.
    learning_rate: Its highest value.
    ema_decay: Decay of the moving average of the parameters.
    num_speakers: Talkers to train on.
    utterances_per_speaker: Utterances of each.
    num_valid: Mixtures of other talkers to watch the training with.
    num_examples: Mixtures of unseen talkers to separate.
    num_to_keep: Of those, how many to write as audio.
    seed: Seed of every draw.
  """

  model: dict[str, Any] = dataclasses.field(
    default_factory=lambda: dict(
      num_filters=128,
      filter_length=32,
      bottleneck_channels=96,
      hidden_channels=192,
      skip_channels=96,
      num_blocks=6,
      num_repeats=2,
      mask_activation="sigmoid",
      encoder_activation="relu",
      # Starts out as a transform and its inverse: minutes of learning saved.
      filterbank_init="fourier",
    )
  )
  num_steps: int = 4500
  batch_size: int = 2
  crop_s: float = 1.5
  learning_rate: float = 3e-3
  ema_decay: float | None = 0.995
  num_speakers: int = 300
  utterances_per_speaker: int = 4
  num_valid: int = 64
  num_examples: int = 40
  num_to_keep: int = 3
  seed: int = 0


class QuickstartError(ValueError):
  """Something that the caller can mend; the message is one line."""


def run(
  output_dir: str | pathlib.Path,
  recipe: Recipe | None = None,
  *,
  progress: bool | None = None,
) -> list[dict[str, Any]] | None:
  """Trains, separates and writes the folder.

  Args:
    output_dir: New, empty, or left by an earlier run with the same recipe.
    recipe: What to do, the usual thing by default.
    progress: Whether to show a progress bar; None shows one on a terminal.

  Returns:
    The rows of the table, one a mixture; None if a signal ended the training,
    which the same call then goes on with.

  Raises:
    QuickstartError: If the folder is not ours or of another recipe.
    TrainingError: If the training cannot start or go on.
  """
  recipe = recipe or Recipe()
  folder = _claim(pathlib.Path(output_dir), recipe)
  task = SeparationTask(
    model=models.ConvTasNet(num_sources=2, **recipe.model),
    sample_rate_hz=SAMPLE_RATE_HZ,
    simulate=simulate.make_simulator(snr_db=(-2.5, 2.5), flip_polarity=True),
    settings={"snr_db": [-2.5, 2.5], "flip_polarity": True},
  )
  result = _train(task, recipe, folder, progress)
  if result.reason == "signal":
    return None
  jaxsep.save(
    folder / "model",
    task.model,
    jax.device_get(result.params),
    sample_rate_hz=SAMPLE_RATE_HZ,
    overwrite=True,
  )
  examples = list(_unseen(task, recipe))
  for example in examples:
    example["estimate"] = inference.separate(
      task.model, result.params, example["mixture"]
    )
  rows = score(
    examples,
    seed=recipe.seed,
    num_samples=MIXTURE_S * SAMPLE_RATE_HZ,
  )
  write_results(
    folder,
    rows,
    examples,
    num_to_keep=recipe.num_to_keep,
    sample_rate_hz=SAMPLE_RATE_HZ,
  )
  return rows


def _claim(folder, recipe):
  """Makes the folder ours, unless it is somebody else's."""
  wanted = json.loads(json.dumps(dataclasses.asdict(recipe)))
  marker, partial = folder / MARKER, folder / f".{MARKER}"
  if marker.is_file():
    try:
      found = dict(json.loads(marker.read_text()))
    except (ValueError, TypeError):
      raise QuickstartError(
        f"{marker} is damaged; delete it with its folder, or choose another"
        " --output_dir"
      ) from None
    changed = sorted(k for k in wanted if found.get(k) != wanted[k])
    if changed:
      name = changed[0]
      raise QuickstartError(
        f"{folder} was made with {name}={found.get(name)}, not {wanted[name]};"
        " choose another --output_dir"
      )
    return folder
  if folder.exists() and (
    not folder.is_dir() or set(folder.iterdir()) - {partial}
  ):
    raise QuickstartError(
      f"{folder} exists and was not made by the quickstart; choose another"
      " --output_dir"
    )
  folder.mkdir(parents=True, exist_ok=True)
  # In one piece: a start that is killed here leaves no half of it.
  partial.write_text(json.dumps(wanted, indent=2) + "\n")
  os.replace(partial, marker)
  return folder


def _train(task, recipe, folder, progress):
  """Fits the model to mixtures of the talkers to train on."""
  voices = make_voices(
    num_speakers=recipe.num_speakers,
    utterances_per_speaker=recipe.utterances_per_speaker,
    seed=recipe.seed,
    # Synthesised once, when first drawn; the cores are needed for training.
    cache_mb=500,
  )
  crops: dict[str, Any] = dict(
    batch_size=recipe.batch_size,
    num_sources=2,
    crop_length=round(recipe.crop_s * SAMPLE_RATE_HZ),
    sample_rate_hz=SAMPLE_RATE_HZ,
    seed=recipe.seed,
    num_threads=1,
  )
  valid = make_voices(
    num_speakers=2 * recipe.num_valid,
    utterances_per_speaker=1,
    split="valid",
    seed=recipe.seed,
    cache_mb=100,
  )
  config = TrainConfig(
    num_steps=recipe.num_steps,
    seed=recipe.seed,
    ema_decay=recipe.ema_decay,
    optimizer=OptimizerConfig(
      # Learns in a third of the steps what Adam does.
      name="muon",
      learning_rate=recipe.learning_rate,
      schedule="cosine",
      warmup_steps=min(100, recipe.num_steps // 10),
      end_learning_rate=0.01 * recipe.learning_rate,
    ),
    log_every=50,
    eval_every=max(1, recipe.num_steps // 5),
    checkpoint_every=max(1, recipe.num_steps // 10),
    monitor="si_sdr_improvement",
    monitor_mode="max",
    tensorboard=False,
    progress=progress,
  )
  return fit(
    task,
    workdir=folder / "training",
    config=config,
    make_train_batches=lambda step: train_batches(
      voices, start_step=step, **crops
    ),
    make_eval_batches=lambda: eval_batches(
      valid, num_examples=recipe.num_valid, **crops
    ),
    run_config={"voices": [recipe.num_speakers, recipe.utterances_per_speaker]},
    mesh=make_mesh(jax.devices()[:1]),
  )


def _unseen(task, recipe):
  """Mixtures of talkers that are in no training mixture, each once."""
  voices = make_voices(
    num_speakers=2 * recipe.num_examples,
    utterances_per_speaker=1,
    split="test",
    seed=recipe.seed,
    utterance_s=MIXTURE_S,
  )
  batches = eval_batches(
    voices,
    num_examples=recipe.num_examples,
    batch_size=8,
    num_sources=2,
    crop_length=MIXTURE_S * SAMPLE_RATE_HZ,
    sample_rate_hz=SAMPLE_RATE_HZ,
    seed=recipe.seed,
  )
  return simulate.fixed_examples(
    task.simulate, batches, key=jax.random.key(recipe.seed)
  )


def _command():
  """The `jaxsep` command of this environment, as one can type it."""
  command = pathlib.Path(sys.executable).parent / "jaxsep"
  return os.path.relpath(command) if command.exists() else "jaxsep"


def main(argv: Sequence[str]) -> None:
  """Runs with the flags; complains in one line."""
  # Not what the checkpoint library says of every write.
  logging.set_verbosity(logging.WARNING)
  if len(argv) > 1:
    raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
  keep_freed_memory()
  recipe = Recipe(seed=_SEED.value)
  if _NUM_STEPS.value is not None:
    recipe = dataclasses.replace(recipe, num_steps=_NUM_STEPS.value)
  folder = pathlib.Path(OUTPUT_DIR.value or "quickstart")
  started = time.monotonic()
  try:
    rows = run(folder, recipe, progress=True)
  except (QuickstartError, TrainingError, ModelFolderError, OSError) as error:
    sys.exit(f"quickstart: {error}")
  if rows is None:
    sys.exit("quickstart: stopped; the same command goes on from here")
  print_table(rows)
  improvement = np.mean([row["si_sdr_improvement_db"] for row in rows])
  minutes = (time.monotonic() - started) / 60
  print(
    f"""
All of it took {minutes:.1f} minutes and is in {folder.resolve()}
  scores.csv       the table above
  separation.png   waveforms and spectrograms of the first example
  audio/           mixtures, estimates and references of the first examples
  model/           the trained model
Next, try it on a recording of your own:
  {_command()} separate --model={folder}/model your.wav --output_dir=out"""
  )
  if _NUM_STEPS.value is None and improvement < LEAST_IMPROVEMENT_DB:
    sys.exit(
      f"quickstart: the improvement of {improvement:.1f} dB is below the "
      f"{LEAST_IMPROVEMENT_DB:.0f} dB that this recipe reaches; please report "
      f"it with {folder}/training/log.jsonl"
    )


if __name__ == "__main__":
  app.run(main)
