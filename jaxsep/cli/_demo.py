"""`jaxsep demo`."""

import argparse
import pathlib

import numpy as np

import jaxsep
from jaxsep import audio, cli, dsp, metrics
from jaxsep.cli._console import UsageError, note

_VOICES = pathlib.Path(jaxsep.__file__).parent / "demo"


def run(options: argparse.Namespace) -> int:
  """Mixes two speakers, separates them, and says what to listen to."""
  folder = pathlib.Path(options.output_dir)
  if folder.exists() and not options.overwrite:
    raise UsageError(
      f"{folder}: exists already; choose another --output_dir or add"
      " --overwrite"
    )
  folder.mkdir(parents=True, exist_ok=True)
  paths = [folder / f"speaker_{number}.wav" for number in (1, 2)]
  found = map(audio.read, sorted(_VOICES.glob("*.flac")))
  voices, rates = zip(*found, strict=True)
  length = min(voice.shape[1] for voice in voices)
  reference = np.concatenate([voice[:, :length] for voice in voices])
  for path, signal in zip(paths, reference, strict=True):
    audio.write(path, signal, sample_rate_hz=rates[0])
  mixed, mixture = folder / "mixture.wav", reference.sum(axis=0)
  audio.write(mixed, mixture, sample_rate_hz=rates[0])
  print(f"Two built-in synthetic speakers, mixed: {mixed}")
  print(f"jaxsep separate {mixed}", flush=True)
  if code := cli.main(
    ["separate", str(mixed), "--num_speakers=2", "--overwrite"]
  ):
    return code
  separated = [folder / f"mixture_{number}.wav" for number in (1, 2)]
  estimate = np.concatenate([audio.read(path)[0] for path in separated])
  _print_scores(estimate, reference, separated, paths)
  try:
    _draw(folder / "separation.png", mixture, estimate, rates[0])
  except ImportError:
    note("a figure needs matplotlib: pip install matplotlib")
  else:
    print(f"Look at {folder}/separation.png")
  print(
    f"Listen to {mixed}, then to {separated[0].name} and"
    f" {separated[1].name} beside it.\n"
    "Next, a recording of your own: jaxsep separate my_recording.wav"
  )
  return 0


def _print_scores(estimate, reference, separated, paths):
  """Prints how much closer each output is to its speaker than the mixture."""
  ratios = np.stack(
    [
      metrics.si_sdr(np.broadcast_to(signal, reference.shape), reference)
      for signal in (*estimate, reference.sum(axis=0))
    ]
  )
  order = np.asarray(dsp.best_permutation(-ratios[:2]))
  row = "{:<16}{:<16}{:>8}{:>11}{:>13}"
  titles = ("SI-SDR (dB) of", "in", "mixture", "separated", "improvement")
  print("\n" + row.format(*titles))
  for speaker, output in enumerate(order):
    before, after = ratios[2, speaker], ratios[output, speaker]
    names = paths[speaker].name, separated[output].name
    values = (f"{value:.1f}" for value in (before, after, after - before))
    print(row.format(*names, *values))
  print()


def _draw(path, mixture, estimate, rate):
  """Draws the spectrograms of the mixture and the outputs."""
  from matplotlib.figure import Figure  # Not a core dependency.

  figure = Figure(figsize=(9, 7), layout="constrained")
  names = ["mixture", "output 1", "output 2"]
  signals = dict(zip(names, (mixture, *estimate), strict=True))
  axes = figure.subplots(len(signals), sharex=True)
  colours = {"vmin": -110, "vmax": -40, "cmap": "magma"}
  for place, (name, signal) in zip(axes, signals.items(), strict=True):
    # A little noise, as the level of silence would be infinite.
    quiet = 1e-6 * np.random.default_rng(0).standard_normal(len(signal))
    place.specgram(signal + quiet, NFFT=256, noverlap=192, Fs=rate, **colours)
    place.set(title=name, ylabel="frequency (Hz)")
  axes[-1].set_xlabel("time (s)")
  figure.savefig(path, dpi=110)
