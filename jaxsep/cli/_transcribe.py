"""`jaxsep transcribe`."""

import argparse
import pathlib
import tempfile
from typing import Any, NamedTuple

import numpy as np

from jaxsep import audio, inference, model_io, text
from jaxsep.cli._console import UsageError, complain, note, user_mistakes
from jaxsep.cli._recording import (
  Recording,
  check_channel,
  load_separator,
  planned_outputs,
  progress_bar,
)
from jaxsep.cli._separate import separate_file


class _Models(NamedTuple):
  recognizer: model_io.LoadedModel
  tokenizer: text.Tokenizer
  language_model: model_io.LoadedModel | None
  separator: model_io.LoadedModel | None
  search: dict[str, Any]

  def transcribe(self, blocks, progress=None):
    """What is said in blocks `[any]` at the recogniser's rate."""
    other = self.language_model
    return inference.transcribe(
      self.recognizer.model,
      self.recognizer.variables,
      self.tokenizer,
      blocks,
      sample_rate_hz=self.recognizer.sample_rate_hz,
      language_model=other and (other.model, other.variables),
      progress=progress,
      **self.search,
    )


def run(options: argparse.Namespace) -> int:
  """Prints the words of each file, or writes them.

  Options and headers are checked first; a file whose samples turn out to be
  damaged is left out.
  """
  if options.separator and not options.css:
    raise UsageError("--separator needs --css")
  if options.lm_weight is not None and not options.language_model:
    raise UsageError("--lm_weight needs --language_model")
  if options.ctc_weight is not None and options.beam_size == 1:
    raise UsageError("--ctc_weight needs a --beam_size of 2 or more")
  if options.channel is None:
    options.channel = 0 if options.css else "mix"
  inputs = [pathlib.Path(name) for name in options.files]
  abouts = [
    audio.info(path, allow_truncated=options.allow_truncated) for path in inputs
  ]
  for path, about in zip(inputs, abouts, strict=True):
    check_channel(options.channel, about.num_channels, path)
  models = _load(options, min(about.sample_rate_hz for about in abouts))
  targets = {}
  if options.output_dir:
    targets = planned_outputs(inputs, [".txt", ".ctm"], options)
  failed = False
  for path, about in zip(inputs, abouts, strict=True):
    try:
      with user_mistakes():
        streams = _streams(path, about, models, options)
    except UsageError as error:
      failed = True
      complain(error)
      continue
    if path in targets:
      _write(path, targets[path], streams, options)
    else:
      name = f"{path}: " * (len(inputs) > 1)
      for line in _lines(streams, options):
        print(name + line, flush=True)
  return 2 if failed else 0


def _load(options, rate_hz):
  """All models, which fit together."""
  folder = options.model
  recognizer = model_io.load(folder)
  kind = f"{type(recognizer.model).__name__} (task: {recognizer.task})"
  if not hasattr(recognizer.model, "ctc"):
    raise UsageError(f"{folder}: its model, {kind}, recognises no words")
  if "tokenizer" not in recognizer.files:
    raise UsageError(
      f"{folder}: has no file 'tokenizer', which says what the recogniser's"
      " tokens mean: save it again with jaxsep.save(files={'tokenizer': ...})"
    )
  other = separator = None
  if options.language_model:
    other = model_io.load(options.language_model)
    if not hasattr(other.model, "search_step") or hasattr(other.model, "ctc"):
      kind = type(other.model).__name__
      raise UsageError(
        f"{options.language_model}: its model, {kind}, is no language model"
      )
  if options.css:
    separator = load_separator(_separation(options), rate_hz)
  try:
    tokenizer = text.load_tokenizer(recognizer.files["tokenizer"])
    models = _Models(recognizer, tokenizer, other, separator, _search(options))
    models.transcribe([])  # Says what does not fit.
  except (ImportError, ValueError) as error:
    raise UsageError(f"{folder}: {error}") from error
  return models


def _search(options):
  """The options of the search that are given."""
  names = ("beam_size", "ctc_weight", "lm_weight")
  given = {name: getattr(options, name) for name in names}
  return {name: value for name, value in given.items() if value is not None}


def _separation(options):
  """The options of `jaxsep separate --css`."""
  return argparse.Namespace(
    model=options.separator,
    css=True,
    stream=False,
    channel=options.channel,
    num_speakers=None,
    upper_band="share",  # Silence there would be new to the recogniser.
    encoding=None,
    batch_size=None,
    allow_truncated=options.allow_truncated,
    quiet=options.quiet,
  )


def _streams(path, about, models, options):
  """What is said in each stream of a recording; there is one without --css."""
  if models.separator is None:
    if about.num_channels > 1 and not options.quiet:
      channel = options.channel
      what = f"channel {channel + 1}" if channel != "mix" else "the mean"
      note(f"{path}: transcribing {what} of its {about.num_channels} channels")
    return [
      _transcribe(path, about, path.name, options.channel, models, options)
    ]
  with tempfile.TemporaryDirectory() as home:
    numbers = range(1, models.separator.model.num_sources + 1)
    targets = [pathlib.Path(home, f"{number}.wav") for number in numbers]
    separate_file(path, about, targets, models.separator, _separation(options))
    streams = [
      _transcribe(
        target,
        audio.info(target),
        f"{path.name}, stream {number}",
        "mix",
        models,
        options,
      )
      for number, target in zip(numbers, targets, strict=True)
    ]
    return _without_doubles(streams, targets, about.sample_rate_hz)


def _without_doubles(streams, targets, rate):
  """Utterances without the words that a louder stream has, too."""
  words = [
    [word for said in stream for word in said.words] for stream in streams
  ]
  signals = (
    np.concatenate(blocks)
    for blocks in zip(*map(audio.read_blocks, targets), strict=True)
  )
  kept = inference.without_doubles(words, signals, sample_rate_hz=rate)
  found = []
  for stream, left in zip(streams, map(set, kept), strict=True):
    rests = [[word for word in said.words if word in left] for said in stream]
    found.append(
      [
        said._replace(
          text=" ".join(word.text for word in rest), words=tuple(rest)
        )
        for said, rest in zip(stream, rests, strict=True)
        if rest
      ]
    )
  return found


def _transcribe(path, about, title, channel, models, options):
  rate, model_rate = about.sample_rate_hz, models.recognizer.sample_rate_hz
  if rate < model_rate and not options.quiet:
    note(
      f"{title}: {rate} Hz, but the recogniser was trained at {model_rate} Hz:"
      " it will make more errors"
    )
  blocks = audio.read_blocks(path, allow_truncated=options.allow_truncated)
  heard = Recording(channel).heard(blocks, rate=rate, model_rate=model_rate)
  with progress_bar(title, about.duration_s, model_rate, options) as progress:
    return models.transcribe((block[0] for block in heard), progress)


def _lines(streams, options):
  """A line for each utterance or, with times, for each word, in their order."""
  said = [
    (part, f"{number}: " * (len(streams) > 1))
    for number, utterances in enumerate(streams, 1)
    for utterance in utterances
    for part in (utterance.words if options.timestamps else [utterance])
  ]
  for part, stream in sorted(said):
    times = f"{part.start_s:.2f} {part.end_s:.2f} " * options.timestamps
    yield times + stream + part.text


def _write(path, targets, streams, options):
  """Writes the text, and words with times."""
  lines = [f"{line}\n" for line in _lines(streams, options)]
  targets[0].write_text("".join(lines), encoding="utf-8")
  recording = "_".join(path.stem.split())
  words = [
    text.TimedWord(recording, str(number), word.start_s, word.end_s, word.text)
    for number, utterances in enumerate(streams, 1)
    for utterance in utterances
    for word in utterance.words
  ]
  text.write_ctm(targets[1], words)
  print(*targets, sep="\n")
