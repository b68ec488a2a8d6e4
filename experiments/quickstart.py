"""From nothing to separated speech, in minutes on two cores.

Trains a small SpectrogramTasNet on the built-in voices, separates mixtures of
speakers that it never heard, and leaves a folder to listen to and look at:

  python -m experiments.quickstart --output_dir=quickstart

Started again with the same folder, it goes on where it was stopped, or makes
the results anew if the training had ended.
"""

import os
import pathlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

import jaxsep
from data_pipelines.voices import make_voices, speaker_of
from experiments import job, rows, separation
from experiments.command import Parser, run_or_exit
from experiments.data import Data, DataConfig
from experiments.harmonic_probes.configs import (
  spectrogram_tasnet_small_corpus,
)
from experiments.harmonic_probes.train import make_task
from experiments.plots import plot_separation
from jaxsep import losses, train
from jaxsep.train.mesh import make_mesh

SAMPLE_RATE_HZ = 8000
#: Longest duration of a mixture to separate.
MIXTURE_S = 4.0
#: Mean SI-SDR improvement below which the usual recipe counts as failed.
LEAST_IMPROVEMENT_DB = 6.0
#: Speakers whose mean pitch differs by less count as similar.
SIMILAR_SEMITONES = 3.0
NUM_STEPS = 3200
#: Columns of the table, and what they are called when it is printed.
RATIOS = {
  "mixture_si_sdr": "mixture (dB)",
  "si_sdr": "SI-SDR (dB)",
  "si_sdr_improvement": "improved by (dB)",
  "sdr": "SDR (dB)",
}


def get_config(seed: int = 0, num_steps: int = NUM_STEPS) -> Any:
  """The recipe: what is trained, on what, for how long."""
  config = spectrogram_tasnet_small_corpus.get_config()
  # Long windows tell harmonics apart and make few frames.
  config.model.stft.update(n_fft=512, hop_length=128)
  config.model.compression = "power"
  config.model.masker.update(
    bottleneck_channels=128,
    skip_channels=128,
    num_blocks=5,
    num_repeats=2,
  )
  # On the waveforms, unlike the paper: it counts what is heard.
  config.loss = job.options(losses.neg_si_snr)
  config.simulation.update(snr_db=(-2.5, 2.5), flip_polarity=True)
  config.data.update(
    num_voices=300,
    num_valid_voices=128,
    num_utterances=4,
    crop_s=2.0,
    valid_crop_s=2.0,
    num_valid_examples=64,
    speed_range=None,
    seed=seed,
    # The cores are needed for training.
    num_threads=1,
  )
  config.optimizer.update(
    warmup_steps=min(100, num_steps // 10), end_learning_rate=3e-5
  )
  config.train.update(
    num_steps=num_steps,
    seed=seed,
    ema_decay=0.995,
    log_every=50,
    eval_every=max(1, num_steps // 5),
    checkpoint_every=max(1, num_steps // 10),
    monitor="si_sdr_improvement",
    monitor_mode="max",
    tensorboard=False,
  )
  return config


def run(
  output_dir: str | pathlib.Path,
  config: Any,
  *,
  num_examples: int = 40,
  num_saved: int = 3,
) -> list[rows.Row] | None:
  """Trains, separates mixtures of unseen speakers, and writes the folder.

  The folder is new, empty, or of an earlier run of the same config. Returns a
  row for each mixture; None if a signal ended the training.
  """
  folder = pathlib.Path(output_dir)
  if folder.exists() and not (folder / "training").is_dir():
    if not folder.is_dir() or any(folder.iterdir()):
      raise ValueError(
        f"{folder} exists and was not made by the quickstart; choose another"
        " --output_dir"
      )
  result = job.fit(
    config,
    make_task,
    workdir=folder / "training",
    mesh=make_mesh(jax.devices()[:1]),
  )
  if result.reason == "signal":
    return None
  task = make_task(config)
  variables = jax.device_get(result.variables)
  jaxsep.save(
    folder / "model",
    task.model,
    variables,
    sample_rate_hz=config.sample_rate_hz,
    overwrite=True,
  )
  scored = list(separate_unseen(task, variables, config, num_examples))
  table = [row for row, _ in scored]
  rows.write(folder / "scores.csv", [*table, mean_row(table)])
  separation.write_examples(
    folder / "audio", scored[:num_saved], sample_rate_hz=config.sample_rate_hz
  )
  row, first = scored[0]
  plot_separation(
    folder / "separation.png",
    *(first[name] for name in ("mixture", "estimate", "reference")),
    sample_rate_hz=config.sample_rate_hz,
    title=(
      f"Example {row['index']}: two speakers never heard before,"
      f" {row['si_sdr_improvement']:.1f} dB SI-SDR improvement"
    ),
  )
  return table


def separate_unseen(
  task: Any, variables: Any, config: Any, num_examples: int
) -> Iterator[tuple[rows.Row, dict[str, np.ndarray]]]:
  """Rows and signals of speakers that are in no training mixture."""
  seed = config.data.seed
  voices = make_voices(
    num_speakers=2 * num_examples,
    utterances_per_speaker=1,
    split="test",
    seed=seed,
    utterance_s=MIXTURE_S,
  )
  drawn = DataConfig(
    batch_size=8,
    num_valid_examples=num_examples,
    valid_crop_s=MIXTURE_S,
    seed=seed,
  )
  ingredients = Data(drawn, config.sample_rate_hz, 2, voices, voices)
  speakers: dict[int, list[int]] = {}

  def with_speakers() -> Iterator[dict]:
    for batch in ingredients.eval_batches():
      names = batch["speaker"].tolist()
      speakers.update(zip(batch["index"].tolist(), names, strict=True))
      yield batch

  for scores, signals in separation.scored(task, variables, with_speakers()):
    row = {"index": scores["index"]}
    for n, number in enumerate(speakers[scores["index"]], 1):
      speaker = speaker_of(seed=seed, split="test", number=number)
      row |= {f"speaker_{n}": number, f"pitch_{n}_hz": speaker.f0_hz}
    yield row | {name: scores[name] for name in RATIOS}, signals


def mean_row(table: Sequence[rows.Row], name: str = "mean") -> rows.Row:
  """The means of the ratios, in the shape of a row."""
  means = {
    ratio: rows.mean_and_error([row[ratio] for row in table])[0]
    for ratio in RATIOS
  }
  return dict.fromkeys(table[0], "") | {"index": name} | means


def markdown(table: Sequence[rows.Row]) -> str:
  """The table as it is printed: all rows, and means by likeness of pitch."""
  groups: dict[str, list[rows.Row]] = {
    f"similar pitch ({SIMILAR_SEMITONES:g} semitones)": [],
    "other pairs": [],
    f"mean of {len(table)}": list(table),
  }
  similar, other, _ = groups.values()
  for row in table:
    octaves = np.log2(row["pitch_1_hz"] / row["pitch_2_hz"])
    is_similar = abs(12.0 * octaves) < SIMILAR_SEMITONES
    (similar if is_similar else other).append(row)
  means = [mean_row(group, name) for name, group in groups.items() if group]
  return rows.markdown(
    [
      {
        "example": row["index"],
        "pitch (Hz)": row["pitch_1_hz"]
        and f"{row['pitch_1_hz']:.0f} + {row['pitch_2_hz']:.0f}",
      }
      | {title: row[ratio] for ratio, title in RATIOS.items()}
      for row in [*table, *means]
    ],
    digits=1,
  )


def main(argv: Sequence[str] | None = None) -> None:
  """Reads the flags and runs; an error is one line."""
  parser = Parser(__doc__)
  add = parser.add
  add("output_dir", default="quickstart", help="Folder for everything.")
  add("num_steps", type=int, least=1, default=NUM_STEPS, help="Training steps.")
  add("seed", type=int, least=0, default=0, help="Seed of every draw.")
  flags = parser.parse(argv)
  train.keep_freed_memory()
  folder, started = pathlib.Path(flags.output_dir), time.monotonic()
  config = get_config(flags.seed, flags.num_steps)
  table = run_or_exit(lambda: run(folder, config), debug=flags.debug)
  if table is None:
    sys.exit("quickstart: stopped; the same command goes on from here")
  command = pathlib.Path(sys.executable).parent / "jaxsep"
  command = os.path.relpath(command) if command.exists() else "jaxsep"
  minutes = (time.monotonic() - started) / 60
  print(
    f"""{markdown(table)}

All of it took {minutes:.1f} minutes and is in {folder.resolve()}
  scores.csv       the table above
  separation.png   waveforms and spectrograms of the first example
  audio/           mixtures, estimates and references of the first examples
  model/           the trained model
Next, try it on a recording of your own:
  {command} separate --model={folder}/model your.wav --output_dir=out"""
  )
  improvement = mean_row(table)["si_sdr_improvement"]
  if flags.num_steps == NUM_STEPS and improvement < LEAST_IMPROVEMENT_DB:
    sys.exit(
      f"quickstart: the improvement of {improvement:.1f} dB is below the "
      f"{LEAST_IMPROVEMENT_DB:.0f} dB that this recipe reaches; please report "
      f"it with {folder}/training/log.jsonl"
    )


if __name__ == "__main__":
  main()
