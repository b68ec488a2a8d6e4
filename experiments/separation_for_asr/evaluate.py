r"""Word error rates of a separator and a recogniser on LibriCSS.

  python -m experiments.separation_for_asr.evaluate --libricss=DIR \
    --model=B --recognizer=R --output=OUT

DIR is the release, its pieces as `dataprep.py` of libri_css places them, or
sessions of `make_sessions`. Without --model, nothing is separated.

Two protocols, see `scoring`: utterance-wise, where an oracle chooses the better
output, and continuous, in windows of 1.2 + 0.8 + 0.4 s, with the words of each
stream where someone speaks. OUT gets `utterance.csv` and `continuous.csv`, a
row for every utterance and segment, and `results.md`: a table of conditions
with their unweighted mean. A run that was ended goes on with the session where
it was.

As in the official script, the decoder's weights may be chosen on session 0, by
--sessions=0; all sessions are scored, that one too.
"""

import csv
import functools
import itertools
import json
import pathlib
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tqdm

from experiments import job, rows
from experiments.command import Parser, say
from experiments.separation_for_asr import libricss, paper, scoring
from jaxsep import audio, inference
from jaxsep.text import TimedWord, load_tokenizer

#: A word, when it begins and when it ends, in seconds.
Word = tuple[str, float, float]
PROTOCOLS = ("utterance", "continuous")

# Utterances are separated whole, filled up to a few different lengths.
_LONGEST_S = 120.0
# What the rows of another run must have had in common.
_SETTINGS = (
  *("libricss", "model", "recognizer", "language_model", "beam_size"),
  *("ctc_weight", "lm_weight", "longest_s", "references", "glm"),
  "without_doubles",
)


class Recognizer:
  """Recognises signals with the model of a folder, which has its tokenizer.

  Attributes:
    sample_rate_hz: Rate of the signals.
  """

  def __init__(self, folder: str, language_model: str | None, **options: Any):
    loaded = job.load_model(folder)
    if "tokenizer" not in loaded.files:
      raise ValueError(f"--recognizer is {folder}, which has no tokenizer")
    self.sample_rate_hz = loaded.sample_rate_hz
    if language_model:
      other = job.load_model(language_model)
      options["language_model"] = other.model, other.variables
    self._transcribe = functools.partial(
      inference.transcribe,
      loaded.model,
      loaded.variables,
      load_tokenizer(loaded.files["tokenizer"]),
      sample_rate_hz=loaded.sample_rate_hz,
      **options,
    )

  def __call__(self, signals: Sequence[np.ndarray]) -> list[list[Word]]:
    """The words of each signal `[T]`, with times from its start."""
    if not signals:
      return []
    ends = np.cumsum([len(signal) for signal in signals])
    starts = np.append(0, ends[:-1])
    segments = list(zip(starts.tolist(), ends.tolist(), strict=True))
    found = self._transcribe(signals, segments=segments)
    words: list[list[Word]] = [[] for _ in signals]
    for said in found:
      middle = (said.start_s + said.end_s) / 2 * self.sample_rate_hz
      number = int(np.searchsorted(ends, middle, side="right"))
      start_s = starts[number] / self.sample_rate_hz
      words[number] += [
        (word.text, word.start_s - start_s, word.end_s - start_s)
        for word in said.words
      ]
    return words


class System:
  """A separator, if there is one, and a recogniser.

  With `without_doubles`, words that both streams have of one speaker count once
  in the continuous protocol, see `inference.without_doubles`.
  """

  def __init__(
    self, separator: Any, recognize: Any, *, without_doubles: bool = False
  ):
    self._separator, self.recognize = separator, recognize
    self._without_doubles = without_doubles

  def outputs(self, piece: libricss.Piece, protocol: str) -> np.ndarray:
    """Signals of a piece at the recogniser's rate, `[outputs, T]`."""
    rate = self.recognize.sample_rate_hz
    if self._separator is None:
      return piece.read(rate)[np.newaxis]
    model_rate = self._separator.sample_rate_hz
    mixture = piece.read(model_rate)
    if protocol == "continuous":
      cut: Any = inference.CssWindows(sample_rate_hz=model_rate)
    else:
      longest = max(round(_LONGEST_S * model_rate), len(mixture))
      cut = inference.Overlapping(longest, 0)
    sources = inference.separate(
      self._separator.model,
      self._separator.variables,
      mixture,
      sample_rate_hz=model_rate,
      cut=cut,
      join=inference.CssJoin,
      even_level=False,
    )
    blocks = audio.resample_blocks(
      [sources], orig_rate_hz=model_rate, target_rate_hz=rate
    )
    return np.concatenate(list(blocks), axis=1)

  def words(self, streams: np.ndarray) -> list[TimedWord]:
    """The words of the segments of each stream, in the order of time."""
    rate = self.recognize.sample_rate_hz
    parts = [
      (channel, start, stream[start:end])
      for channel, stream in enumerate(streams)
      for start, end in inference.voice_segments([stream], sample_rate_hz=rate)
    ]
    found = self.recognize([signal for _, _, signal in parts])
    words: list[list[TimedWord]] = [[] for _ in streams]
    for (channel, start, _), said in zip(parts, found, strict=True):
      words[channel] += [
        TimedWord("", str(channel), start / rate + a, start / rate + b, word)
        for word, a, b in said
      ]
    if self._without_doubles:
      words = inference.without_doubles(words, [streams], sample_rate_hz=rate)
    return sorted(
      itertools.chain.from_iterable(words), key=lambda word: word.start_s
    )


def utterance_rows(
  system: System, pieces: Iterable[libricss.Piece], keep: Callable[..., None]
) -> list[rows.Row]:
  """A row for each utterance; `keep` is given the outputs."""
  pieces, signals, counts = list(pieces), [], []
  for piece in tqdm.tqdm(pieces, disable=not sys.stderr.isatty(), leave=False):
    outputs = system.outputs(piece, "utterance")
    keep(piece, outputs)
    signals += list(outputs)
    counts.append(len(outputs))
  said = [
    " ".join(word for word, _, _ in words)
    for words in system.recognize(signals)
  ]
  found = []
  for piece, end, count in zip(pieces, np.cumsum(counts), counts, strict=True):
    texts, text = said[end - count : end], piece.turns[0].text
    best, errors, words = scoring.best_output(texts, text)
    found.append(
      {
        "piece": piece.name,
        "words": words,
        "errors": errors,
        "output": best + 1,
        "reference": text,
        "recognized": texts[best],
      }
    )
  return found


def segment_rows(
  system: System,
  pieces: Iterable[libricss.Piece],
  keep: Callable[..., None],
  *,
  asclite: Callable[..., tuple[int, int]] | None = None,
) -> list[rows.Row]:
  """A row for each segment; `asclite` is given words, turns and a name."""
  found = []
  pieces = list(pieces)
  for piece in tqdm.tqdm(pieces, disable=not sys.stderr.isatty(), leave=False):
    streams = system.outputs(piece, "continuous")
    keep(piece, streams)
    words = system.words(streams)
    errors = scoring.stream_errors(words, piece.turns)
    count = scoring.num_words(turn.text for turn in piece.turns)
    row = {"piece": piece.name, "words": count, **errors}
    if asclite:
      wrong, counted = asclite(words, piece.turns, name=piece.name)
      row |= {"asclite": wrong, "asclite_words": counted}
    text = " ".join(f"{word.channel}:{word.word}" for word in words)
    found.append(row | {"recognized": text})
  return found


def results(tables: dict[str, list[rows.Row]], with_paper: bool) -> str:
  """The table of all protocols, and what it means."""
  lines = {}
  for protocol, found in tables.items():
    if protocol == "utterance":
      title = "utterance-wise, the better output by an oracle's choice"
      lines[title] = scoring.rates(found, "errors", "words")
      continue
    lines["continuous, ORC-WER"] = scoring.rates(found, "orc", "words")
    lines["continuous, tcORC-WER"] = scoring.rates(found, "tcorc", "words")
    if "asclite" in found[0]:
      rates = scoring.rates(found, "asclite", "asclite_words")
      lines["continuous, asclite"] = rates
  if with_paper:
    lines |= {row.title: row.rates for row in paper.ROWS}
  text = scoring.table(lines)
  there = {row["condition"] for found in tables.values() for row in found}
  if len(there) < len(libricss.CONDITIONS):
    text += "\n\nMeans of ours are over the conditions that were evaluated."
  return text


def run(flags: Any) -> None:
  """Evaluates as the flags say."""
  sessions = _sessions(flags)
  output = pathlib.Path(flags.output)
  _prepare(output, flags)
  system = System(
    job.load_model(flags.model) if flags.model else None,
    _recognizer(flags),
    without_doubles=flags.without_doubles,
  )
  chosen = PROTOCOLS if flags.protocol == "both" else (flags.protocol,)
  tables: dict[str, list[rows.Row]] = {}
  for protocol in chosen:
    path = output / f"{protocol}.csv"
    table = tables[protocol] = _read(path) if path.exists() else []
    done = {row["session"] for row in table}
    for session in sessions:
      if session.name not in done:
        table += _session(session, protocol, system, output, flags)
        rows.write(path, table)
        say(f"{protocol}: {session.name}")
  names = {session.name for session in sessions}
  text = results(
    {p: [r for r in x if r["session"] in names] for p, x in tables.items()},
    flags.paper,
  )
  (output / "results.md").write_text(f"{text}\n")
  print(f"{text}\n{output}")


def _session(session, protocol, system, output, flags):
  """The rows of a session."""
  left = flags.examples

  def keep(piece, outputs):
    nonlocal left
    left -= 1
    if left < 0:
      return
    rate = system.recognize.sample_rate_hz
    folder = output / "examples" / session.name
    folder.mkdir(parents=True, exist_ok=True)
    signals = [piece.read(rate), *outputs] if flags.model else outputs
    first = 0 if flags.model else 1
    for number, signal in enumerate(signals, first):
      name = f"{piece.name}_{number or 'mixture'}.wav"
      audio.write(folder / name, signal[np.newaxis], sample_rate_hz=rate)

  if protocol == "utterance":
    found = utterance_rows(system, session.utterances(), keep)
  else:
    asclite = None
    if scoring.find_program("asclite"):
      asclite = functools.partial(
        scoring.asclite_errors,
        folder=output / "asclite" / session.name,
        glm=pathlib.Path(flags.glm) if flags.glm else None,
      )
    references = pathlib.Path(flags.references) if flags.references else None
    pieces = session.segments(references)
    found = segment_rows(system, pieces, keep, asclite=asclite)
  which = {"condition": session.condition, "session": session.name}
  return [which | row for row in found]


def _sessions(flags):
  sessions = libricss.open_sessions(pathlib.Path(flags.libricss))
  numbers = {int(number) for number in flags.sessions}
  chosen = [s for s in sessions if not numbers or s.number in numbers]
  if not chosen:
    raise ValueError(f"{flags.libricss} has no sessions {flags.sessions}")
  if flags.glm and not scoring.find_program("asclite"):
    raise ValueError("--glm is for asclite of SCTK, which is not installed")
  return chosen


def _recognizer(flags):
  return Recognizer(
    flags.recognizer,
    flags.language_model,
    beam_size=flags.beam_size,
    ctc_weight=flags.ctc_weight,
    lm_weight=flags.lm_weight,
    longest_s=flags.longest_s,
  )


def _prepare(output, flags):
  """Makes the folder; the rows that are in it must be of these settings."""
  settings = {name: getattr(flags, name) for name in _SETTINGS}
  path = output / "settings.json"
  if output.exists() and any(output.iterdir()):
    before = json.loads(path.read_text()) if path.exists() else None
    if flags.overwrite and before is not None:
      for old in output.glob("*.csv"):
        old.unlink()
    elif before != settings:
      raise ValueError(
        f"--output is {output}, which holds something else; choose another one"
        + ", or pass --overwrite" * (before is not None)
      )
  output.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(settings, indent=2))


def _read(path):
  with open(path, encoding="utf-8", newline="") as file:
    return [
      {n: int(x) if x.isdecimal() else x for n, x in row.items()}
      for row in csv.DictReader(file)
    ]


def main(argv: Sequence[str] | None = None) -> None:
  """Reads the flags and runs; an error is one line."""
  parser = Parser(__doc__)
  add = parser.add
  add("libricss", required=True, help="Folder of the sessions.")
  add("model", help="Separator: model folder, run, or name; none without it.")
  add("recognizer", required=True, help="Recogniser: model folder or run.")
  add("language_model", help="Its language model, a folder or run.")
  help_text = "New folder for rows, tables and examples."
  add("output", required=True, help=help_text)
  add("protocol", choices=[*PROTOCOLS, "both"], default="both", help="Which.")
  add("sessions", type=tuple, default=(), help="Numbers, such as 0,1; or all.")
  add("references", help="scoring/references of libri_css, for copied pieces.")
  add("glm", help="Rules for texts that asclite compares, of libri_css.")
  add("examples", type=int, default=0, help="Pieces of each session to keep.")
  help_text = "Count words that both streams have once; LibriCSS does not."
  add("without_doubles", type=bool, help=help_text)
  add("paper", type=bool, help="Also print the results in the paper.")
  add("overwrite", type=bool, help="Replace the rows in --output.")
  add("beam_size", type=int, least=1, default=8, help="1 is greedy, by CTC.")
  add("ctc_weight", type=float, default=0.4, help="Of the search.")
  add("lm_weight", type=float, default=0.6, help="Of the language model.")
  help_text = "Most seconds to recognise at once; more is cut at quiet places."
  add("longest_s", type=float, least=1, default=40.0, help=help_text)
  parser.run(run, argv)


if __name__ == "__main__":
  main()
