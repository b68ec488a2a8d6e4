"""Writes sessions like those of LibriCSS, in the layout of its release.

  python -m experiments.separation_for_asr.make_sessions \
    --corpus=librispeech:LibriSpeech/test-clean --output=DIR

Speakers of the corpus take turns, with silences or overlaps, in one simulated
room a session. The same corpus and flags always write the same sessions. The
built-in voices need no files: `--corpus=voices --sample_rate_hz=8000`.
"""

import pathlib
from collections.abc import Sequence
from typing import Any

from data_pipelines import corpora
from experiments.command import Parser, say
from experiments.separation_for_asr import sessions


def run(flags: Any) -> None:
  """Makes and writes all sessions."""
  output = pathlib.Path(flags.output).expanduser()
  if output.exists() and (not output.is_dir() or any(output.iterdir())):
    raise ValueError(f"--output is {output}, which is not an empty folder")
  if unknown := set(flags.conditions) - set(sessions.CONDITIONS):
    raise ValueError(
      f"--conditions has {sorted(unknown)[0]!r}; there are "
      f"{', '.join(sessions.CONDITIONS)}"
    )
  corpus = _open(flags)
  minutes = 0.0
  for place, condition in enumerate(flags.conditions):
    for number in range(flags.num_sessions):
      seed = (flags.seed * len(sessions.CONDITIONS) + place) * 1000 + number
      turns = sessions.plan(
        corpus,
        condition,
        seconds=60 * flags.minutes,
        sample_rate_hz=flags.sample_rate_hz,
        num_speakers=flags.num_speakers,
        seed=seed,
      )
      name = sessions.write_session(
        output,
        corpus,
        condition,
        number,
        turns,
        sample_rate_hz=flags.sample_rate_hz,
        snr_db=flags.snr_db,
        has_room=not flags.dry,
        seed=seed,
      )
      minutes += turns[-1].end / flags.sample_rate_hz / 60
      say(f"{condition}/{name}: {len(turns)} utterances")
  print(f"{output}: {minutes:.1f} min")


def _open(flags):
  """The corpus; ValueError if it cannot make sessions."""
  splits = corpora.splits_of(flags.corpus)
  options: dict[str, Any] = {"split": flags.split or (splits and splits[-1])}
  if flags.corpus == "voices":
    options["utterances_per_speaker"] = flags.num_utterances
    options["seed"] = flags.seed
  corpus = corpora.open_corpus(
    flags.corpus, sample_rate_hz=flags.sample_rate_hz, **options
  )
  missing = {"speaker", "text"} - set(corpus.columns)
  if corpus.is_premixed or missing:
    raise ValueError(
      f"{flags.corpus} has no {' and no '.join(sorted(missing) or ['text'])}; "
      "sessions are made of utterances with a speaker and a text"
    )
  return corpus


def main(argv: Sequence[str] | None = None) -> None:
  """Reads the flags and runs; an error is one line."""
  parser = Parser(__doc__)
  add = parser.add
  add("corpus", required=True, help="Utterances with text as layout:where.")
  add("split", help="Split of the corpus; that to test on if not given.")
  add("output", required=True, help="Folder to write.")
  default = tuple(sessions.CONDITIONS)
  add("conditions", type=tuple, default=default, help="Which of these to make.")
  add("num_sessions", type=int, least=1, default=10, help="Of each condition.")
  add("minutes", type=float, least=0.1, default=10.0, help="Of a session.")
  add("num_speakers", type=int, least=2, default=8, help="In a session.")
  add("sample_rate_hz", type=int, least=8000, default=16000, help="Of all.")
  add("snr_db", type=float, default=20.0, help="Speech above the noise.")
  add("dry", type=bool, help="Leave out the room.")
  help_text = "Of each of the built-in voices, 3 to 4 s each."
  add("num_utterances", type=int, least=1, default=40, help=help_text)
  add("seed", type=int, least=0, default=0, help="Seed of every draw.")
  parser.run(run, argv)


if __name__ == "__main__":
  main()
