"""Word errors of LibriCSS's two protocols.

Utterance-wise: of the outputs for an utterance, the one with the fewest errors
counts. That is an oracle's choice, and the protocol of the paper.

Continuous: the words of both streams of a segment, with times.
- ORC-WER: each reference utterance is matched to the stream that suits it best;
  tcORC-WER: and words match only within 5 s. Both by meeteval.
- asclite: the words of both streams in one list, in time, against a reference
  with overlapping speakers, as the paper. By NIST's SCTK, if it is installed.

The error rate of a condition is the sum of its errors over that of its words;
the mean over the conditions is not weighted, as in the paper.
"""

import importlib
import os
import pathlib
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence

from experiments import rows
from experiments.separation_for_asr.libricss import CONDITIONS
from jaxsep.text import (
  SpokenTurn,
  TimedWord,
  normalize,
  word_errors,
  write_ctm,
  write_stm,
)

_COLLAR_S = 5.0
# Where Debian has SCTK's programs.
_SCTK = "/usr/lib/sctk/bin"
_ASCLITE = """-adaptive-cost -time-prune 400 -word-time-align 400
  -memory-limit 8 -difficulty-limit 8 -F -D -overlap-limit 8
  -memory-compression 256 -force-memory-compression
  -o sum rsum sgml""".split()
_SUM = re.compile(r"^\|\s*Sum\s*\|([\s\d]+)\|([-\s\d]+)\|", re.MULTILINE)


def best_output(outputs: Sequence[str], reference: str) -> tuple[int, int, int]:
  """The output with the fewest errors, its errors, and the reference's words.

  The first one of equals.
  """
  said = normalize(reference)
  errors = [word_errors(normalize(output), said)[0] for output in outputs]
  return errors.index(min(errors)), min(errors), len(said.split())


def num_words(texts: Iterable[str]) -> int:
  """Words of texts as they are compared."""
  return sum(len(normalize(text).split()) for text in texts)


def stream_errors(
  words: Sequence[TimedWord], turns: Sequence[SpokenTurn]
) -> dict[str, int]:
  """Errors of separate streams: `orc` and `tcorc`; the channel is the stream.

  ValueError if meeteval is not installed.
  """
  score = _meeteval()
  reference = [
    {
      "session_id": "",
      "speaker": turn.speaker,
      "start_time": turn.start_s,
      "end_time": turn.end_s,
      "words": normalize(turn.text),
    }
    for turn in sorted(turns, key=lambda turn: turn.start_s)
  ]
  hypothesis = [
    {
      "session_id": "",
      "speaker": word.channel,
      "start_time": word.start_s,
      "end_time": word.end_s,
      "words": normalize(word.word),
    }
    for word in sorted(words, key=lambda word: word.start_s)
  ]
  if not hypothesis or not reference:
    # meeteval has no assignment to no stream.
    count = num_words(
      [*(turn.text for turn in turns), *(w.word for w in words)]
    )
    return {"orc": count, "tcorc": count}
  streams = {word.channel: "" for word in words}
  for word in hypothesis:
    streams[word["speaker"]] += f" {word['words']}"
  texts = [turn["words"] for turn in reference]
  timed = score.time_constrained_orc.time_constrained_orc_wer(
    reference,
    hypothesis,
    collar=_COLLAR_S,
    hypothesis_pseudo_word_level_timing="none",
  )
  untimed = score.orc.orc_word_error_rate(
    texts, streams, reference_sort=False, hypothesis_sort=False
  )
  return {"orc": untimed.errors, "tcorc": timed.errors}


def find_program(name: str) -> str | None:
  """A program of SCTK, where that is installed."""
  return shutil.which(name, path=f"{os.environ['PATH']}{os.pathsep}{_SCTK}")


def asclite_errors(
  words: Sequence[TimedWord],
  turns: Sequence[SpokenTurn],
  folder: pathlib.Path,
  name: str,
  *,
  glm: pathlib.Path | None = None,
) -> tuple[int, int]:
  """Errors of one list of the words of all streams, and the words.

  Args:
    words: The words of all streams.
    turns: The reference.
    folder: Where the files of the scorer are kept.
    name: Their name.
    glm: Rules by which SCTK normalises both texts, if there are any.
  """
  folder.mkdir(parents=True, exist_ok=True)
  stm, ctm = folder / f"{name}.stm", folder / f"{name}.ctm"
  write_stm(
    stm,
    [
      turn._replace(recording=name, channel="0", text=normalize(turn.text))
      for turn in labelled(turns)
    ],
  )
  # A word of ours may be several after its normalisation, or none.
  parts = [
    word._replace(recording=name, channel="0", word=part)
    for word in sorted(words, key=lambda word: word.start_s)
    for part in normalize(word.word).split()
  ]
  write_ctm(ctm, parts)
  if not parts or not turns:
    count = num_words(turn.text for turn in turns)
    return count + len(parts), count
  if glm is not None:
    for path, kind in ((stm, "ref"), (ctm, "hyp")):
      options = ["-i", path.suffix[1:], "-t", kind, "-dh", str(glm.resolve())]
      text = _run("csrfilt.sh", options, folder, path.read_text())
      path.write_text(text)
  files = ["-h", ctm.name, "ctm", name, "-r", stm.name, "stm"]
  _run("asclite", ["-f", "4", *files, *_ASCLITE], folder)
  report = folder / f"{ctm.name}.raw"
  found = _SUM.search(report.read_text()) if report.exists() else None
  if found is None:
    raise ValueError(f"asclite scored nothing: see {folder / name}.*")
  # Correct, substituted, deleted, inserted, all errors, sentences with any.
  return int(found[2].split()[4]), int(found[1].split()[1])


def labelled(turns: Iterable[SpokenTurn]) -> list[SpokenTurn]:
  """The turns with speakers A, B, C ..., as few as speak at a time."""
  ends: list[float] = []
  named = []
  for turn in sorted(turns, key=lambda turn: turn.start_s):
    free = [n for n, end_s in enumerate(ends) if end_s <= turn.start_s]
    place = free[0] if free else len(ends)
    ends[place : place + 1] = [turn.end_s]
    named.append(turn._replace(speaker=chr(ord("A") + place)))
  return named


def rates(
  found: Sequence[rows.Row], errors: str, words: str
) -> dict[str, float]:
  """Percent of word errors of each condition that there is, and "mean"."""
  groups = rows.grouped(found, ["condition"])
  percent = {}
  for condition in CONDITIONS:
    if group := groups.get((condition,)):
      count = sum(row[words] for row in group)
      wrong = sum(row[errors] for row in group)
      percent[condition] = 100 * wrong / count if count else float("nan")
  return percent | {"mean": sum(percent.values()) / len(percent)}


def table(lines: Mapping[str, Mapping[str, float]]) -> str:
  """A Markdown table of rates by `rates`, a line for each name."""
  columns = {name: None for line in lines.values() for name in line}
  names = [name for name in (*CONDITIONS, "mean") if name in columns]
  return rows.markdown(
    [
      {"WER (%)": title} | {name: line.get(name) for name in names}
      for title, line in lines.items()
    ]
  )


def _run(name, words, folder, text=None):
  """What a program of SCTK prints; ValueError if it fails."""
  program = find_program(name)
  if program is None:
    raise ValueError(f"{name} of SCTK is not installed")
  # Its scripts call each other.
  path = f"{pathlib.Path(program).parent}{os.pathsep}{os.environ['PATH']}"
  done = subprocess.run(
    [program, *words],
    cwd=folder,
    input=text,
    env=os.environ | {"PATH": path},
    capture_output=True,
    text=True,
  )
  if done.returncode:
    last = (done.stderr or done.stdout).strip().splitlines()[-1:]
    raise ValueError(f"{name} failed in {folder}: {' '.join(last)}")
  return done.stdout


def _meeteval():
  try:
    importlib.import_module("meeteval")
    return importlib.import_module("meeteval.wer.wer")
  except ImportError as error:
    raise ValueError(
      "continuous scores need meeteval: pip install 'jaxsep[asr]'"
    ) from error
