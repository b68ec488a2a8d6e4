"""Makes the two recordings that `jaxsep demo` mixes.

  python -m experiments.pretrained.make_demo_voices --output_dir=jaxsep/demo

They are utterances of two speakers of the built-in voices, one low and one
high: the first of each kind in the test split of a seed that no training here
uses, at equal levels, as FLAC of 16 bits.
"""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from data_pipelines.voices import make_voices, speaker_of
from experiments.command import Parser
from jaxsep import audio

_SEED, _NUM_SPEAKERS = 20_261_121, 20
_RATE_HZ, _LENGTH_S, _RMS = 8000, 5.5, 0.05


def make(flags: Any) -> None:
  """Writes `speaker_1.flac`, the low one, and `speaker_2.flac`."""
  where = {"seed": _SEED, "split": "test"}
  voices = make_voices(
    num_speakers=_NUM_SPEAKERS,
    sample_rate_hz=_RATE_HZ,
    utterances_per_speaker=1,
    utterance_s=_LENGTH_S,
    **where,
  )
  pitch = [speaker_of(number=n, **where).f0_hz for n in range(_NUM_SPEAKERS)]
  low = next(n for n in range(_NUM_SPEAKERS) if pitch[n] < 120.0)
  high = next(n for n in range(_NUM_SPEAKERS) if pitch[n] > 190.0)
  folder = pathlib.Path(flags.output_dir)
  folder.mkdir(parents=True, exist_ok=True)
  for number, row in enumerate((low, high), 1):
    voice = voices.read(row)
    voice *= np.float32(_RMS / np.sqrt(np.mean(np.square(voice))))
    path = folder / f"speaker_{number}.flac"
    audio.write(path, voice, sample_rate_hz=_RATE_HZ, encoding="pcm16")


def main(argv: Sequence[str] | None = None) -> None:
  """Reads the flags and runs; an error is one line."""
  parser = Parser(__doc__)
  parser.add("output_dir", default="jaxsep/demo")
  parser.run(make, argv)


if __name__ == "__main__":
  main()
